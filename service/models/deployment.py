"""Which model versions are deployed, in which role, and which processes have loaded them.

The deployment is one file that all processes follow. Every process that searches also holds a lock
on a file of its own for as long as it lives, whatever ends it. That file lists the versions whose
embeddings it has in memory, so an activation can wait until all have loaded the new index.
"""

import fcntl
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from qasir.config import Strict
from qasir.contract.models import Reranker
from qasir.manifest import EmbeddingSpec, Manifest

DEPLOYMENT_NAME = "deployment.json"


@dataclass(frozen=True)
class ModelVersion:
    """One version in the store: its manifest, the folder of its tokenizer, and what reranks for
    it in mode hybrid."""

    version: int
    manifest: Manifest
    tokenizer: Path
    reranker: "RerankerModel | None" = None


@dataclass(frozen=True)
class RerankerModel:
    """A model version at one grid size; it scores the `k` best videos of a search again."""

    model: ModelVersion
    spec: EmbeddingSpec
    k: int


# Called before every search and every job, so that an activation counts at once.
FindActive = Callable[[], ModelVersion]


class Deployment(Strict):
    """The role of each deployed version; replaced as a whole, so that all see a change at once.

    active: answers searches; previous: was active before; retained: the other versions that every
    video is encoded with, `previous` among them; reranker: for mode hybrid, where the active
    manifest does not name its own; pending: becomes active once no video is missing; candidate:
    becomes active next, so every process loads its embeddings beforehand.
    """

    active: int
    previous: int | None = None
    retained: tuple[int, ...] = ()
    reranker: Reranker | None = None
    pending: int | None = None
    candidate: int | None = None

    @property
    def indexed(self) -> tuple[int, ...]:
        """List the active and retained versions: every video has their embeddings, or will."""
        return (self.active, *self.retained)

    @property
    def loaded(self) -> tuple[int, ...]:
        """List the versions that Triton loads."""
        reranker = [self.reranker.version] if self.reranker else []
        return tuple(sorted({*self.indexed, *reranker}))

    def activate(self, version: int, reranker: Reranker | None = None) -> "Deployment":
        """Return this deployment with another active version; the one before is retained."""
        changed = version != self.active
        return Deployment(
            active=version,
            previous=self.active if changed else self.previous,
            retained=tuple(sorted({*self.indexed} - {version})),
            reranker=reranker,
            pending=None if self.pending == version else self.pending,
        )

    def retire(self, version: int) -> "Deployment":
        """Return this deployment without a version that is not active."""
        roles = ("previous", "pending", "candidate")
        cleared = {role: None for role in roles if getattr(self, role) == version}
        retained = tuple(v for v in self.retained if v != version)
        return self.model_copy(update={"retained": retained, **cleared})


class Heartbeats:
    """The file in which this process lists the versions that it has in memory."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / uuid.uuid4().hex
        unseen = self._path.with_suffix(".new")
        self._handle = os.open(unseen, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        fcntl.flock(self._handle, fcntl.LOCK_EX)
        # Seen only once it is locked, or it would be taken for a dead process's.
        unseen.rename(self._path)

    def publish(self, versions: Iterable[int]) -> None:
        """Write which versions' embeddings are in memory."""
        text = json.dumps(sorted(versions)).encode()
        # In place, because the lock belongs to this file; a reader that sees half of it waits.
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, text, 0)

    def close(self) -> None:
        """Remove the file: this process searches no more."""
        self._path.unlink(missing_ok=True)
        os.close(self._handle)


def missing(folder: Path, version: int) -> int:
    """Count the living processes without this version's embeddings in memory."""
    return sum(version not in versions for versions in _living(folder))


def _living(folder: Path) -> Iterator[list[int]]:
    """Yield the versions in memory of each living process; remove the files of dead ones."""
    for path in (path for path in folder.glob("*") if not path.suffix):
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            versions: list[int] = []
            # A file that is being written is read again later.
            with suppress(ValueError):
                versions = json.loads(os.read(handle, 1000))
            yield versions
        else:
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)
