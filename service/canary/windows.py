"""A window of super images of a few videos, pixel for pixel as it was encoded.

Previews are for people. A canary needs what the encoder saw, and whole windows of it, because a
temporal encoder lets the super images of one window see each other.
"""

import random
import shutil
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from qasir.artifacts import atomic_write
from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec, Manifest
from qasir.types import Bool, Uint8
from service.folders import StateFolders
from service.lock import locked

# Videos. A window of 64 super images of 320 x 320 is 20 MB.
VIDEOS = 10

log = structlog.get_logger()


@dataclass(frozen=True)
class StoredWindow:
    """The input of one call of the encoder: pixels uint8 [S, R, R, 3], mask bool [S, P].

    `keep` of the S became the video's super images from number `first` on.
    """

    pixels: Uint8
    mask: Bool
    keep: slice
    first: int


class WindowStore:
    """The folder `canary/` under the state folder: windows of at most ten videos.

    A later video replaces a random one, so the windows follow the library.
    """

    def __init__(self, folders: StateFolders, reserve_bytes: int) -> None:
        self._folders = folders
        self._reserve_bytes = reserve_bytes

    def store(
        self, video_id: str, manifest: Manifest, spec: EmbeddingSpec, window: StoredWindow
    ) -> None:
        """Store a window as this model cut it, if there is room; an ingest never fails for it."""
        size = window.pixels.nbytes + window.mask.nbytes
        if shutil.disk_usage(self._folders.root).free - size < self._reserve_bytes:
            return
        try:
            # Under the lock of deletes, so that a deleted video leaves no picture behind.
            with locked(self._folders.run / "media.lock"):
                if (self._folders.media / video_id).is_dir():
                    self._evict(VIDEOS - 1, other_than=video_id)
                    path = self._path(video_id, manifest, spec)
                    place = np.array([window.keep.start, window.keep.stop, window.first], np.int64)
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with atomic_write(path) as file:
                        np.savez(file, pixels=window.pixels, mask=window.mask, place=place)
        except OSError as error:
            log.warning("window not stored", video_id=video_id, detail=str(error))

    def videos(self, manifest: Manifest, spec: EmbeddingSpec) -> list[str]:
        """List the videos with a window that this model would cut in the same way."""
        name = self._path("", manifest, spec).name
        return [path.parent.name for path in self._folders.canary.glob(f"*/{name}")]

    def read(self, video_id: str, manifest: Manifest, spec: EmbeddingSpec) -> StoredWindow | None:
        """Read a video's window; None: it was deleted with its video, or evicted.

        Raises:
            CorruptArtifact: the file is cut short or not a window.
        """
        path = self._path(video_id, manifest, spec)
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                begin, end, first = arrays["place"].tolist()
                return StoredWindow(arrays["pixels"], arrays["mask"], slice(begin, end), first)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptArtifact(f"{path} is no window: {error}; delete it") from error

    def _evict(self, limit: int, other_than: str) -> None:
        others = [path for path in self._folders.canary.iterdir() if path.name != other_than]
        for folder in random.sample(others, max(0, len(others) - limit)):
            shutil.rmtree(folder, ignore_errors=True)

    def _path(self, video_id: str, manifest: Manifest, spec: EmbeddingSpec) -> Path:
        cut = f"w{manifest.window}-{manifest.window_overlap}"
        name = f"n{spec.grid_size}-r{spec.resolution}-fps{spec.fps:g}-{cut}.npz"
        return self._folders.canary / video_id / name
