"""A picture or a stretch of a video as a query, in the space in which texts are.

A unit is a query of its own kind. Zero-shot, units and queries share one space. Fine-tuned,
unit = sqrt(1/2) [zero-shot, learned] is what query = normalise [r zero-shot, (1 - r) learned]
is for r = 1/2: both halves count alike. Either way unit . unit is a cosine, which is 1 for a
unit and itself, so nothing needs to be learned and every index answers.
"""

from io import BytesIO

import numpy as np

from qasir.config import IndexUnit
from qasir.errors import InvalidInput, MissingExtra, NotFound, UnsupportedMedia
from qasir.manifest import ScoreFusion
from qasir.scoring import EPSILON
from qasir.super_images import SuperImageBatch, stack, tile
from qasir.types import Float32, Frame, Uint8
from qasir.vectors import VideoVectors, to_float32

try:
    from PIL import Image, ImageOps, UnidentifiedImageError
except ModuleNotFoundError as error:
    raise MissingExtra("qasir.examples needs Pillow; run: pip install 'qasir[service]'") from error

# What browsers and phones send, and no format that holds a program or another file.
FORMATS = ("JPEG", "PNG", "WEBP")
# Every picture is measured against a limit of ours; Pillow's own would warn and go on.
Image.MAX_IMAGE_PIXELS = None


def read_picture(content: bytes, max_pixels: int) -> Uint8:
    """An upright RGB picture uint8 [H, W, 3] from the bytes of a file, whatever its name.

    Raises:
        UnsupportedMedia: the bytes are none of `FORMATS`, or end too early.
        InvalidInput: it has more pixels than `max_pixels`.
    """
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            # The header is read, no pixel yet.
            if width * height > max_pixels:
                raise InvalidInput(
                    f"picture of {width} x {height} pixels: the limit is {max_pixels} in all; "
                    f"send a smaller one, it is searched at a few hundred pixels anyway"
                )
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            pixels: Uint8 = np.asarray(upright)
            return pixels
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UnsupportedMedia(
            f"{len(content)} bytes are no whole picture; send JPEG, PNG or WebP"
        ) from error


def static_super_image(pixels: Uint8, grid_size: int, resolution: int) -> SuperImageBatch:
    """The super image of a scene that stands still: the picture in each of its N x N cells.

    So its rows are of the same kinds, at the same size, as those it is compared with.
    """
    frames = [Frame(pixels, float(i), float(i + 1)) for i in range(grid_size**2)]
    return stack(list(tile(frames, grid_size, resolution)))


def super_image_share(branches: ScoreFusion, unit: IndexUnit) -> float:
    """How much of an example's query is of whole super images, the rest being of cells.

    Recall looks at one of them, the scorer at both by its weight; the query has to find itself
    in either, so it is the mean of what they look at.

    >>> branches = ScoreFusion(super_image_weight=0.0, super_image_tau=0.1, cell_tau=0.1)
    >>> super_image_share(branches, "super-image"), super_image_share(branches, "cell")
    (0.5, 0.0)
    """
    return (float(unit == "super-image") + branches.super_image_weight) / 2


def picture_query(embeddings: Float32, share: float) -> Float32:
    """A unit vector [D] from the units [1+P, D] of a picture's `still`; `share`: of its row 0."""
    return _mixed(embeddings[:1], embeddings[1:], share)


def segment_query(video: VideoVectors, start: float, end: float, share: float) -> Float32:
    """A unit vector [D] for what is on screen in [start, end) seconds; `share`: of the super
    images that its frames are in.

    Raises:
        NotFound: no frame is on screen then.
    """
    times = video.cell_times
    shown = (times[:, 0] < end) & (times[:, 1] > start)
    if not shown.any():
        raise NotFound(
            f"no frame is on screen in [{start:g}, {end:g}) s; the video is indexed from "
            f"{times[:, 0].min():g} to {times[:, 1].max():g} s"
        )
    whole = video.super_images[video.cell_positions[shown] // video.mask.shape[1]]
    return _mixed(to_float32(whole), to_float32(video.cells[shown]), share)


def _mixed(super_images: Float32, cells: Float32, share: float) -> Float32:
    whole, parts = normalised(super_images.mean(0)), normalised(cells.mean(0))
    return normalised(np.float32(share) * whole + np.float32(1 - share) * parts)


def normalised(vector: Float32) -> Float32:
    """A vector [D] at length 1.

    >>> normalised(np.array([3.0, 4.0], np.float32)).round(1).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    return np.asarray(vector / max(np.linalg.norm(vector), EPSILON), np.float32)
