"""A window of super images of a few videos, pixel for pixel as it was encoded.

Sheets are what people see; a canary needs what the encoder saw, and whole windows of it,
because a temporal encoder lets the super images of one window see each other.
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

# Videos at a time. A window of 64 super images of 320 x 320 is 20 MB.
VIDEOS = 10

log = structlog.get_logger()


@dataclass(frozen=True)
class StoredWindow:
    """What one call of the encoder was given: pixels uint8 [S, R, R, 3], mask bool [S, P].

    `keep` of the S became the video's super images from number `first` on.
    """

    pixels: Uint8
    mask: Bool
    keep: slice
    first: int


@dataclass(frozen=True)
class WindowName:
    """Where a window lies, and whose it is."""

    video_id: str
    path: Path


class WindowStore:
    """The folder `canary/` under the state folder: windows of at most ten videos.

    A later video takes the place of a random one, so they change as the library does.
    """

    def __init__(self, folders: StateFolders, reserve_bytes: int) -> None:
        self._folders = folders
        self._reserve_bytes = reserve_bytes

    def keep(
        self, video_id: str, manifest: Manifest, spec: EmbeddingSpec, window: StoredWindow
    ) -> None:
        """Keep a window as this model cut it, if there is room; no ingest ever fails for it."""
        size = window.pixels.nbytes + window.mask.nbytes
        if shutil.disk_usage(self._folders.root).free - size < self._reserve_bytes:
            return
        try:
            # With the lock of deletes: a deleted video leaves no picture behind.
            with locked(self._folders.run / "media.lock"):
                if (self._folders.media / video_id).is_dir():
                    self._drop_beyond(VIDEOS - 1, keep=video_id)
                    _write(window, self._folders.canary / video_id / _file_name(manifest, spec))
        except OSError as error:
            log.warning("window not kept", video_id=video_id, detail=str(error))

    def names(self, manifest: Manifest, spec: EmbeddingSpec) -> list[WindowName]:
        """The windows that this model would cut in the same way."""
        found = self._folders.canary.glob(f"*/{_file_name(manifest, spec)}")
        return [WindowName(path.parent.name, path) for path in found]

    def read(self, name: WindowName) -> StoredWindow | None:
        """Read a window; None: it has gone since, with its video or for a later video's.

        Raises:
            CorruptArtifact: it is cut short or something else.
        """
        try:
            with name.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                begin, end, first = arrays["place"].tolist()
                return StoredWindow(arrays["pixels"], arrays["mask"], slice(begin, end), first)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise CorruptArtifact(f"{name.path} is no window: {error}; delete it") from error

    def _drop_beyond(self, most: int, keep: str) -> None:
        others = [folder for folder in self._folders.canary.iterdir() if folder.name != keep]
        for folder in random.sample(others, max(0, len(others) - most)):
            shutil.rmtree(folder, ignore_errors=True)


def _file_name(manifest: Manifest, spec: EmbeddingSpec) -> str:
    cut = f"w{manifest.window}-{manifest.window_overlap}"
    return f"n{spec.grid_size}-r{spec.resolution}-fps{spec.fps:g}-{cut}.npz"


def _write(window: StoredWindow, path: Path) -> None:
    place = np.array([window.keep.start, window.keep.stop, window.first], np.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        np.savez(file, pixels=window.pixels, mask=window.mask, place=place)
