"""Values that cross module boundaries, as frozen dataclasses, and array types.

Letters, project-wide: Q queries, V videos, F frames, S super images of one video, N grid
size, P = N x N cells, R super-image side in pixels, D embedding dimension, C videos, M super
images and K cells that are scored together. Times are float seconds from media start; moments
are [start, end).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Uint8: TypeAlias = NDArray[np.uint8]
    Int8: TypeAlias = NDArray[np.int8]
    Int16: TypeAlias = NDArray[np.int16]
    Int64: TypeAlias = NDArray[np.int64]
    Bytes: TypeAlias = NDArray[np.bytes_]
    Float16: TypeAlias = NDArray[np.float16]
    Float32: TypeAlias = NDArray[np.float32]
    Float64: TypeAlias = NDArray[np.float64]
    Bool: TypeAlias = NDArray[np.bool_]
else:
    Uint8 = Int8 = Int16 = Int64 = Bytes = Float16 = Float32 = Float64 = Bool = Any


@dataclass(frozen=True)
class VideoInfo:
    """What a container declares about its video stream.

    duration: 0.0 if it declares none; rotation: clockwise display rotation in degrees; width,
    height: as displayed.
    """

    duration: float
    width: int
    height: int
    fps: float
    codec: str
    container: str
    rotation: int


@dataclass(frozen=True)
class Frame:
    """One sampled frame, RGB uint8 [H, W, 3], that stands for media time [start, end)."""

    pixels: Uint8
    start: float
    end: float


@dataclass(frozen=True)
class SuperImage:
    """N x N frames in one picture, row-major.

    pixels: uint8 [R, R, 3], RGB, padded cells black; mask: bool [N*N], True = real;
    times: float64 [N*N, 2], [start, end) of each cell, zeros where padded.
    """

    pixels: Uint8
    mask: Bool
    times: Float64


@dataclass(frozen=True)
class Moment:
    """A stretch [start, end) of a video that answers a query.

    super_image, cell: where its strongest frame is, cells counted row-major; peak: the middle
    of that frame's time.
    """

    start: float
    end: float
    score: float
    super_image: int
    cell: int
    peak: float
