"""Pictures from cameras and attackers; embeddings of pictures and segments as queries."""

import io

import numpy as np
import pytest
from PIL import Image

from qasir.errors import InvalidInput, NotFound, UnsupportedMedia
from qasir.examples import picture_query, read_picture, segment_query, static_super_image
from qasir.super_images import tile
from qasir.types import Float32, Frame, Uint8
from tests.support.vectors import random_video, unit_rows
from tests.support.videos import painted_frame, painted_number

PIXELS = 1 << 20


def encoded(pixels: Uint8, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_pictures_are_read_by_their_bytes(kind: str) -> None:
    pixels = read_picture(encoded(painted_frame(0b10110, 160, 120), kind), PIXELS)
    assert pixels.shape == (120, 160, 3)
    assert pixels.dtype == np.uint8
    assert painted_number(pixels) == 0b10110


def test_transparency_and_palettes_become_rgb() -> None:
    clear = Image.new("RGBA", (4, 3), (255, 0, 0, 0))
    buffer = io.BytesIO()
    clear.save(buffer, "PNG")
    assert read_picture(buffer.getvalue(), PIXELS).shape == (3, 4, 3)
    buffer = io.BytesIO()
    Image.new("P", (4, 3)).save(buffer, "PNG")
    assert read_picture(buffer.getvalue(), PIXELS).shape == (3, 4, 3)


def test_camera_held_upright() -> None:
    """EXIF orientation 6: shown turned by a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    pixels = read_picture(encoded(painted_frame(1, 160, 120), "JPEG", exif=exif), PIXELS)
    assert pixels.shape == (160, 120, 3)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xd8\xff\xe0 no more than a beginning",
        b"%PDF-1.7 something else",
        encoded(painted_frame(1, 64, 48), "GIF"),
        encoded(painted_frame(1, 64, 48), "TIFF"),
        encoded(painted_frame(1, 64, 48), "PNG")[:-40],
        encoded(painted_frame(1, 64, 48), "JPEG")[:300],
    ],
)
def test_what_is_no_whole_picture_is_refused(content: bytes) -> None:
    with pytest.raises(UnsupportedMedia, match="JPEG, PNG or WebP"):
        read_picture(content, PIXELS)


def test_bomb_is_refused_by_its_header() -> None:
    """100 million pixels in a few kilobytes; reading them would take 300 MB."""
    bomb = encoded(np.zeros((10_000, 10_000), np.uint8), "PNG")
    assert len(bomb) < 200_000
    with pytest.raises(InvalidInput, match="10000 x 10000 pixels, the limit is 1048576"):
        read_picture(bomb, PIXELS)


def test_still_is_the_super_image_of_a_scene_without_motion() -> None:
    pixels = painted_frame(0b1011, 320, 240)
    (expected,) = tile([Frame(pixels, n, n + 1) for n in range(9)], 3, 96)
    shown = static_super_image(pixels, 3, 96)
    np.testing.assert_array_equal(shown.pixels[0], expected.pixels)
    assert shown.mask.all()


def unit(vector: Float32) -> Float32:
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_picture_query_mixes_super_image_and_cells(share: float) -> None:
    embeddings = unit_rows(np.random.default_rng(0), 5, 16)
    expected = unit(share * embeddings[0] + (1 - share) * unit(embeddings[1:].sum(0)))
    np.testing.assert_allclose(picture_query(embeddings, share), expected, atol=1e-6)


def test_segment_query_is_of_its_frames_alone() -> None:
    """Frames 3 to 6 at N = 2 are the last cell of super image 0 and three of super image 1."""
    video = random_video(np.random.default_rng(0), 11, 16)
    embeddings = video.embeddings.astype(np.float32)
    cells = unit(embeddings[0, 4] + embeddings[1, 1] + embeddings[1, 2] + embeddings[1, 3])
    whole = unit(embeddings[0, 0] + 3 * embeddings[1, 0])
    query = segment_query(video, 3.0, 7.0, 0.25)
    np.testing.assert_allclose(query, unit(0.25 * whole + 0.75 * cells), atol=1e-6)
    np.testing.assert_array_equal(segment_query(video, 3.9, 6.1, 0.25), query)


@pytest.mark.parametrize(("start", "end"), [(11.0, 12.0), (90.0, 99.0)])
def test_segment_without_a_frame(start: float, end: float) -> None:
    with pytest.raises(NotFound, match="give a part of 0 to 11 s"):
        segment_query(random_video(np.random.default_rng(0), 11, 16), start, end, 0.5)
