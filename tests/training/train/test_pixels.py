"""Pixels of videos: what decoding gives, kept on disk within a limit, never stale."""

from pathlib import Path

import numpy as np
import pytest

from qasir.errors import NotFound, UnsupportedMedia
from qasir.super_images import SuperImageBatch
from tests.support.videos import painted_number, write_painted
from training.features.encode import DecodedBatch, Sampling, decode_ahead
from training.train.feature_provider import PixelCache

SAMPLING = Sampling(fps=2.0, grid_size=2, resolution=64, batch_size=2)
# Five super images of 64 x 64 RGB, with masks and times.
NINE_SECONDS = 5 * (64 * 64 * 3 + 4 * 17)


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    return {
        "long": write_painted(tmp_path / "long.mp4", seconds=9),
        "short": write_painted(tmp_path / "short.mp4", seconds=1),
    }


def cache(files: dict[str, Path], tmp_path: Path, limit: int = 10**9) -> PixelCache:
    return PixelCache(tmp_path / "pixels", files, limit)


def kept(tmp_path: Path) -> list[str]:
    folder = tmp_path / "pixels"
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*.npz"))


def encoded_by_the_stage(files: dict[str, Path], video_id: str) -> SuperImageBatch:
    steps = decode_ahead(files, {video_id: [SAMPLING]})
    pieces = [step.batch for step in steps if isinstance(step, DecodedBatch)]
    pixels, mask, times = (
        np.concatenate([getattr(piece, name) for piece in pieces])
        for name in ("pixels", "mask", "times")
    )
    return SuperImageBatch(pixels, mask, times)


def equal(a: SuperImageBatch, b: SuperImageBatch) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in vars(a))


def test_pixels_are_those_that_encode_sees(files: dict[str, Path], tmp_path: Path) -> None:
    for source in ("decoded", "kept"):
        long, short = cache(files, tmp_path).load(["long", "short"], SAMPLING)
        assert equal(long, encoded_by_the_stage(files, "long")), source
        assert equal(short, encoded_by_the_stage(files, "short")), source
    assert (len(long), len(short), int(short.mask.sum())) == (5, 1, 2)
    # At 2 fps frame k is on screen at k / 2 + 1 / 4 s: painted number 2 at first, 10 fps.
    assert painted_number(long.pixels[0, :32, :32]) == 2


def test_ids_come_back_in_the_order_asked_for(files: dict[str, Path], tmp_path: Path) -> None:
    found = cache(files, tmp_path).load(["short", "long", "short"], SAMPLING)
    assert [len(batch) for batch in found] == [1, 5, 1]


def test_what_is_kept_is_not_decoded_again(files: dict[str, Path], tmp_path: Path) -> None:
    pixels = cache(files, tmp_path)
    (first,) = pixels.load(["long"], SAMPLING)
    path = tmp_path / "pixels" / "2" / "long.npz"
    written = path.stat().st_mtime_ns
    assert equal(pixels.load(["long"], SAMPLING)[0], first)
    assert path.stat().st_mtime_ns == written


def test_a_replaced_video_and_another_sampling_are_decoded_again(
    files: dict[str, Path], tmp_path: Path
) -> None:
    cache(files, tmp_path).load(["long"], SAMPLING)
    write_painted(files["long"], seconds=4)
    assert len(cache(files, tmp_path).load(["long"], SAMPLING)[0]) == 2
    slower = Sampling(1.0, 2, 64, 2)
    assert len(cache(files, tmp_path).load(["long"], slower)[0]) == 1
    assert kept(tmp_path) == ["2/long.npz"]


def test_the_limit_holds_and_what_is_over_it_is_decoded_each_time(
    files: dict[str, Path], tmp_path: Path
) -> None:
    pixels = cache(files, tmp_path, limit=NINE_SECONDS + 100)
    long, short = (pixels.load([name], SAMPLING)[0] for name in ("long", "short"))
    assert kept(tmp_path) == ["2/long.npz"]
    assert equal(pixels.load(["short"], SAMPLING)[0], short)
    # Another run counts what the first one left.
    again = cache(files, tmp_path, limit=NINE_SECONDS + 2000)
    assert equal(again.load(["short"], SAMPLING)[0], short)
    assert equal(again.load(["long"], SAMPLING)[0], long)
    assert kept(tmp_path) == ["2/long.npz"]


def test_no_limit_no_folder(files: dict[str, Path], tmp_path: Path) -> None:
    cache(files, tmp_path, limit=0).load(["long", "short"], SAMPLING)
    assert not (tmp_path / "pixels").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"no archive"])
def test_a_damaged_file_is_decoded_again(
    files: dict[str, Path], tmp_path: Path, content: bytes
) -> None:
    (whole,) = cache(files, tmp_path).load(["long"], SAMPLING)
    path = tmp_path / "pixels" / "2" / "long.npz"
    path.write_bytes(content)
    assert equal(cache(files, tmp_path).load(["long"], SAMPLING)[0], whole)
    assert path.stat().st_size > NINE_SECONDS


def test_what_cannot_be_read_is_a_typed_error(files: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no video file for 'absent'"):
        cache(files, tmp_path).load(["absent"], SAMPLING)
    files["broken"] = tmp_path / "broken.mp4"
    files["broken"].write_bytes(b"no video")
    with pytest.raises(UnsupportedMedia, match=r"broken\.mp4"):
        cache(files, tmp_path).load(["broken"], SAMPLING)
