"""Encoded windows of videos that are not committed yet: an interrupted ingest goes on there.

    checkpoints/<video>/<digest>.npy   float16 [S, 1+P, D], the embeddings of one full window

The digest is over the spec and over the window's pixels and mask. So what another model, another
grid or other pictures made is never found, and decoding again decides what may be used.
"""

import hashlib
import shutil
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qasir.artifacts import atomic_write
from qasir.manifest import EmbeddingSpec
from qasir.super_images import SuperImageBatch
from qasir.types import Float16
from service.folders import StateFolders

# Windows that were not read or written for so long belong to a job that was given up.
KEEP_SECONDS = 24 * 3600.0


@dataclass(frozen=True)
class Checkpoint:
    """The windows of one video."""

    folders: StateFolders
    video_id: str

    def read(self, spec: EmbeddingSpec, batch: SuperImageBatch) -> Float16 | None:
        """Return the embeddings of this very window, if they are stored and whole."""
        try:
            embeddings: Float16 = np.load(self._path(spec, batch), allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return None
        shape = (len(batch.mask), 1 + batch.mask.shape[1])
        fits = embeddings.dtype == np.float16 and embeddings.shape[:2] == shape
        return embeddings if fits else None

    def write(self, spec: EmbeddingSpec, batch: SuperImageBatch, embeddings: Float16) -> None:
        """Store the embeddings of a window, whole or not at all; no ingest ever fails for it."""
        with suppress(OSError), atomic_write(self._path(spec, batch)) as file:
            np.save(file, embeddings)

    def clear(self) -> None:
        shutil.rmtree(self.folders.checkpoints / self.video_id, ignore_errors=True)

    def _path(self, spec: EmbeddingSpec, batch: SuperImageBatch) -> Path:
        digest = hashlib.blake2b(spec.model_dump_json().encode(), digest_size=16)
        for array in (batch.pixels, batch.mask):
            digest.update(np.ascontiguousarray(array).data)
        return self.folders.checkpoints / self.video_id / f"{digest.hexdigest()}.npy"


def sweep(folders: StateFolders) -> None:
    """Remove the windows of jobs that were given up; only for the holder of the worker lock."""
    for folder in folders.checkpoints.iterdir():
        if folder.stat().st_mtime < time.time() - KEEP_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
