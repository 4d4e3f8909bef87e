"""One video's vectors with their passport, in memory and as an immutable file."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qasir.artifacts import whole_file
from qasir.errors import CorruptArtifact
from qasir.manifest import Passport
from qasir.types import Bool, Float16, Float64


@dataclass(frozen=True)
class VideoVectors:
    """What an encoder made of one video.

    vectors: float16 [S, D], L2-normalised before rounding; mask: bool [S, N*N];
    times: float64 [S, N*N, 2], [start, end) of every cell.
    """

    passport: Passport
    vectors: Float16
    mask: Bool
    times: Float64

    def __post_init__(self) -> None:
        count, cells = len(self.vectors), self.passport.grid_size**2
        if self.mask.shape != (count, cells) or self.times.shape != (count, cells, 2):
            raise CorruptArtifact(
                f"vectors {self.vectors.shape}, mask {self.mask.shape} and times "
                f"{self.times.shape} do not belong together at N = {self.passport.grid_size}"
            )


def write_vectors(video: VideoVectors, path: Path) -> None:
    """Write the file whole; an existing one of the same name is replaced at once."""
    with whole_file(path) as file:
        np.savez(
            file,
            passport=np.frombuffer(video.passport.model_dump_json().encode(), np.uint8),
            vectors=video.vectors,
            mask=video.mask,
            times=video.times,
        )


def read_vectors(path: Path) -> VideoVectors:
    """Read a file of `write_vectors`.

    Raises:
        CorruptArtifact: the file is missing, cut short or holds something else.
    """
    try:
        # The file is opened here: np.load leaves one it cannot read open.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            passport = Passport.model_validate_json(arrays["passport"].tobytes())
            return VideoVectors(passport, arrays["vectors"], arrays["mask"], arrays["times"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptArtifact(f"{path} is no vector file: {error}; ingest again") from error
