"""One video's embeddings with their spec, in memory and as an immutable file."""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qasir.artifacts import atomic_write
from qasir.config import IndexUnit
from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec
from qasir.types import Bool, Float16, Float32, Float64, Int64

# Sign, exponent and fraction of a half, shifted into a float; and the gap of their biases.
HALF_BITS = np.int32(-0x70002000)
HALF_SCALE = np.float32(2.0**112)


@dataclass(frozen=True)
class VideoVectors:
    """The embeddings of one video's super images and cells, or the features they are made of.

    embeddings: float16 [S, 1 + N*N, D], L2-normalised before rounding (features are not); row 0
    of a super image is the whole picture, row 1 + p its cell p (row-major), zeros where padded;
    mask: bool [S, N*N], True = real; times: float64 [S, N*N, 2], [start, end) of every cell.

    Raises:
        CorruptArtifact: the shapes do not fit N of the spec, or no cell is real.
    """

    spec: EmbeddingSpec
    embeddings: Float16
    mask: Bool
    times: Float64

    def __post_init__(self) -> None:
        count, cells = len(self.embeddings), self.spec.grid_size**2
        expected = [(count, 1 + cells), (count, cells), (count, cells, 2)]
        if [self.embeddings.shape[:-1], self.mask.shape, self.times.shape] != expected:
            raise CorruptArtifact(
                f"embeddings {self.embeddings.shape}, mask {self.mask.shape} and times "
                f"{self.times.shape} do not fit together at N = {self.spec.grid_size}"
            )
        if not self.mask.any():
            raise CorruptArtifact(
                f"none of {self.mask.size} cells is real; a video has at least one frame"
            )

    @property
    def super_images(self) -> Float16:
        """Embeddings of the super images [S, D]."""
        return self.embeddings[:, 0]

    @property
    def cells(self) -> Float16:
        """Embeddings of the real cells [F, D] in order of time."""
        return self.embeddings[:, 1:][self.mask]

    @property
    def cell_positions(self) -> Int64:
        """Positions s * N*N + p of the real cells, int [F]."""
        return np.flatnonzero(self.mask)

    @property
    def cell_times(self) -> Float64:
        """[start, end) of the real cells, float64 [F, 2]."""
        return self.times[self.mask]

    @property
    def flat(self) -> Float16:
        """All embeddings [S * (1 + N*N), D], super images before their cells."""
        return self.embeddings.reshape(-1, self.embeddings.shape[-1])

    def positions(self, unit: IndexUnit) -> Int64:
        """Where the embeddings of one branch lie in `flat`, int [U]; without padded cells."""
        return searched_positions(self.mask, unit)

    def rows(self, unit: IndexUnit) -> Float16:
        """The rows that an index over `unit` holds for this video."""
        return self.cells if unit == "cell" else self.super_images


def searched_positions(mask: Bool, unit: IndexUnit) -> Int64:
    """Return where super images, or real cells, lie among S * (1 + P) embeddings, int64 [U].

    >>> mask = np.array([[True, True], [True, False]])
    >>> searched_positions(mask, "super-image").tolist(), searched_positions(mask, "cell").tolist()
    ([0, 3], [1, 2, 4])
    """
    count, cells = mask.shape
    if unit == "super-image":
        return np.arange(0, count * (1 + cells), 1 + cells)
    places: Int64 = np.flatnonzero(mask)
    return np.asarray(places + places // cells + 1)


def to_float32(rows: Float16) -> Float32:
    """Convert finite float16 [...] to float32 [...], six times as fast as numpy does.

    numpy converts value by value. Shifted, the bits of a half are those of a float 2^112 times
    too small, subnormals included; the shift and the product are vector instructions.

    >>> to_float32(np.array([0.5, -3.0], np.float16)).tolist()
    [0.5, -3.0]
    """
    bits = rows.view(np.int16).astype(np.int32)
    bits <<= 13
    # The shift of a signed integer copied the sign over the exponent.
    bits &= HALF_BITS
    values: Float32 = bits.view(np.float32)
    values *= HALF_SCALE
    return values


def write_vectors(video: VideoVectors, path: Path) -> None:
    """Write the vector file atomically, replacing an existing one."""
    with atomic_write(path) as file:
        np.savez(
            file,
            spec=np.frombuffer(video.spec.model_dump_json().encode(), np.uint8),
            embeddings=video.embeddings,
            mask=video.mask,
            times=video.times,
        )


def read_vectors(path: Path) -> VideoVectors:
    """Read a file of `write_vectors`.

    Raises:
        CorruptArtifact: the file is missing, cut short or holds something else.
    """
    try:
        # Opened here, because np.load does not close a file that it cannot read.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            spec = EmbeddingSpec.model_validate_json(arrays["spec"].tobytes())
            return VideoVectors(spec, arrays["embeddings"], arrays["mask"], arrays["times"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptArtifact(
            f"{path} is not a vector file: {error}; ingest the video again"
        ) from error


def take(video: VideoVectors, rows: Int64) -> VideoVectors:
    """Return some super images of a video, by position int [S']."""
    return replace(
        video, embeddings=video.embeddings[rows], mask=video.mask[rows], times=video.times[rows]
    )


def join(videos: Sequence[VideoVectors]) -> VideoVectors:
    """Return the super images of several videos of one spec, one after the other."""
    return VideoVectors(
        videos[0].spec,
        np.concatenate([video.embeddings for video in videos]),
        np.concatenate([video.mask for video in videos]),
        np.concatenate([video.times for video in videos]),
    )
