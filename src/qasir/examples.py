"""Query by example: a picture or a stretch of a video as a query vector.

Embeddings of pictures can serve as queries. Zero-shot, embeddings and queries share one space.
Fine-tuned, embedding = sqrt(1/2) [zero-shot, learned] is query = normalise [r zero-shot,
(1 - r) learned] with r = 1/2: both halves count alike. Either way the product of two embeddings
is a cosine, 1 for an embedding and itself, so this needs no training and works on every index.
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

# What browsers and phones send; no format that can hold a program or refer to another file.
FORMATS = ("JPEG", "PNG", "WEBP")
# `read_picture` has a limit of its own; Pillow's would only warn.
Image.MAX_IMAGE_PIXELS = None


def read_picture(content: bytes, max_pixels: int) -> Uint8:
    """Decode the bytes of a picture file as upright RGB uint8 [H, W, 3].

    Raises:
        UnsupportedMedia: the bytes have none of `FORMATS`, or are truncated.
        InvalidInput: the picture has more than `max_pixels` pixels.
    """
    try:
        with Image.open(BytesIO(content), formats=FORMATS) as picture:
            width, height = picture.size
            # Only the header has been read so far.
            if width * height > max_pixels:
                raise InvalidInput(
                    f"the picture has {width} x {height} pixels, the limit is {max_pixels} in all; "
                    f"send a smaller one, because search uses a few hundred pixels a side"
                )
            upright = ImageOps.exif_transpose(picture).convert("RGB")
            pixels: Uint8 = np.asarray(upright)
            return pixels
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UnsupportedMedia(
            f"the {len(content)} bytes are not a complete picture; send JPEG, PNG or WebP"
        ) from error


def static_super_image(pixels: Uint8, grid_size: int, resolution: int) -> SuperImageBatch:
    """Make a super image with the picture in each of its N x N cells, like a scene without motion.

    Its embeddings then have the kinds and the cell size of those that they are compared with.
    """
    frames = [Frame(pixels, float(i), float(i + 1)) for i in range(grid_size**2)]
    return stack(list(tile(frames, grid_size, resolution)))


def super_image_share(fusion: ScoreFusion, unit: IndexUnit) -> float:
    """Return how much of an example's query comes from super images; the rest is from cells.

    Recall compares with one kind of embeddings, the scorer with both by its weight. The share is
    the mean of the two, so that an example finds its own video in both steps.

    >>> fusion = ScoreFusion(super_image_weight=0.0, super_image_tau=0.1, cell_tau=0.1)
    >>> super_image_share(fusion, "super-image"), super_image_share(fusion, "cell")
    (0.5, 0.0)
    """
    return (float(unit == "super-image") + fusion.super_image_weight) / 2


def picture_query(embeddings: Float32, share: float) -> Float32:
    """Make a query [D] of a `static_super_image`'s embeddings [1+P, D]; row 0 counts `share`."""
    return _mixed(embeddings[:1], embeddings[1:], share)


def segment_query(video: VideoVectors, start: float, end: float, share: float) -> Float32:
    """Make a query [D] of the frames in [start, end) seconds; their super images count `share`.

    Raises:
        NotFound: no indexed frame is in that interval.
    """
    times = video.cell_times
    shown = (times[:, 0] < end) & (times[:, 1] > start)
    if not shown.any():
        raise NotFound(
            f"no frame is indexed in [{start:g}, {end:g}) s; give a part of "
            f"{times[:, 0].min():g} to {times[:, 1].max():g} s"
        )
    whole = video.super_images[video.cell_positions[shown] // video.mask.shape[1]]
    return _mixed(to_float32(whole), to_float32(video.cells[shown]), share)


def _mixed(super_images: Float32, cells: Float32, share: float) -> Float32:
    whole, parts = normalised(super_images.mean(0)), normalised(cells.mean(0))
    return normalised(np.float32(share) * whole + np.float32(1 - share) * parts)


def normalised(vector: Float32) -> Float32:
    """Scale a vector [D] to length 1.

    >>> normalised(np.array([3.0, 4.0], np.float32)).round(1).tolist()
    [0.6000000238418579, 0.800000011920929]
    """
    return np.asarray(vector / max(np.linalg.norm(vector), EPSILON), np.float32)
