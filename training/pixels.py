"""Super images of training videos as pixels, decoded once and kept on disk up to a limit.

Training through a backbone reads the same pixels every epoch. What fits the limit is kept
beside the build; what does not is decoded again each time it is asked for, so that disk is
bounded however large a dataset is.
"""

import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from threading import Lock

import numpy as np

from qasir.artifacts import atomic_write
from qasir.errors import NotFound
from qasir.manifest import Preprocessing
from qasir.super_images import SuperImageBatch, stack, tile
from qasir.video import sample_frames
from training.decoding import THREADS, Sampling
from training.feature_cache import source_digest


class PixelCache:
    """The super images of every video of `files`, by video id and sampling."""

    def __init__(self, folder: Path, files: Mapping[str, Path], limit: int) -> None:
        """`limit` in bytes counts what `folder` holds already."""
        self._folder = folder
        self._files = files
        self._limit = limit
        self._used = sum(path.stat().st_size for path in folder.rglob("*.npz"))
        self._lock = Lock()
        self._sources: dict[str, str] = {}

    def load(self, video_ids: Sequence[str], sampling: Sampling) -> list[SuperImageBatch]:
        """The videos in the order asked for, read or decoded side by side.

        Raises:
            NotFound: there is no file for an id.
            UnsupportedMedia, NoVideoStream, NoFrames, VideoTooLong: as `qasir.video`.
        """
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(self._one, video_ids, repeat(sampling)))

    def _one(self, video_id: str, sampling: Sampling) -> SuperImageBatch:
        if video_id not in self._files:
            raise NotFound(
                f"no video file for '{video_id}'; put it where prepare.videos says, or run "
                "`dvc repro encode` so that it is counted as missing"
            )
        path = self._folder / str(sampling.grid_size) / f"{video_id}.npz"
        key = self._key(video_id, sampling)
        kept = _read(path, key)
        if kept is None:
            kept = decode(self._files[video_id], sampling)
            self._keep(path, key, kept)
        return kept

    def _key(self, video_id: str, sampling: Sampling) -> str:
        """Changes with the video file and with anything that changes its pixels."""
        if video_id not in self._sources:
            self._sources[video_id] = source_digest(self._files[video_id])
        facts = (sampling.fps, sampling.grid_size, sampling.resolution)
        return f"{self._sources[video_id]} {facts} {Preprocessing().model_dump_json()}"

    def _keep(self, path: Path, key: str, batch: SuperImageBatch) -> None:
        size = batch.pixels.nbytes + batch.mask.nbytes + batch.times.nbytes
        with self._lock:
            size -= path.stat().st_size if path.exists() else 0
            if self._used + size > self._limit:
                return
            self._used += size
        with atomic_write(path) as file:
            np.savez(file, key=np.array(key), **vars(batch))


def decode(path: Path, sampling: Sampling) -> SuperImageBatch:
    """All super images of a video."""
    frames = sample_frames(path, sampling.fps)
    return stack(list(tile(frames, sampling.grid_size, sampling.resolution)))


def _read(path: Path, key: str) -> SuperImageBatch | None:
    """What was kept under this key; a file of another key or a damaged one is decoded again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            return SuperImageBatch(arrays["pixels"], arrays["mask"], arrays["times"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
