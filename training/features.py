"""One video's features with their spec, in memory and as an immutable file.

Features are what a frozen image tower says, before anything that is chosen or trained: so
one cache serves every retriever of a backbone.
"""

import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from qasir.artifacts import atomic_write
from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec
from qasir.types import Bool, Float16, Float64, Int64


@dataclass(frozen=True)
class VideoFeatures:
    """What an image tower made of one video's S super images of P = N*N cells.

    features: float16 [S, 1+P, F'], row 0 the whole picture, row 1+p cell p (row-major), zeros
    where padded; mask: bool [S, P]; times: float64 [S, P, 2], [start, end) of every cell.
    """

    spec: EmbeddingSpec
    features: Float16
    mask: Bool
    times: Float64

    def __post_init__(self) -> None:
        count, cells = len(self.mask), self.spec.grid_size**2
        if (
            self.features.shape[:-1] != (count, 1 + cells)
            or self.mask.shape != (count, cells)
            or self.times.shape != (count, cells, 2)
        ):
            raise CorruptArtifact(
                f"features {self.features.shape}, mask {self.mask.shape} and times "
                f"{self.times.shape} do not belong together at N = {self.spec.grid_size}"
            )

    def __len__(self) -> int:
        return len(self.mask)


def take(video: VideoFeatures, rows: Int64) -> VideoFeatures:
    """Some super images of a video, int [S']."""
    return replace(
        video, features=video.features[rows], mask=video.mask[rows], times=video.times[rows]
    )


def write_features(video: VideoFeatures, path: Path) -> None:
    """Write the file whole; an existing one of the same name is replaced at once."""
    with atomic_write(path) as file:
        np.savez(
            file,
            spec=np.frombuffer(video.spec.model_dump_json().encode(), np.uint8),
            features=video.features,
            mask=video.mask,
            times=video.times,
        )


def read_features(path: Path) -> VideoFeatures:
    """Read a file of `write_features`.

    Raises:
        CorruptArtifact: the file is missing, cut short or holds something else.
    """
    try:
        # The file is opened here: np.load leaves one it cannot read open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            spec = EmbeddingSpec.model_validate_json(arrays["spec"].tobytes())
            return VideoFeatures(spec, arrays["features"], arrays["mask"], arrays["times"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptArtifact(
            f"{path} is no feature file: {error}; remove it, then run `dvc repro encode`"
        ) from error
