"""Which processes search, and which model versions' embeddings each of them has in memory.

Every process holds a lock on a file of its own for as long as it lives, whatever ends it. The
file lists what it has loaded, so an activation can wait until all have loaded the new index.
"""

import fcntl
import json
import os
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path


class Heartbeats:
    """The file of this process."""

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
    for path in (path for path in folder.glob("*") if not path.suffix):
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            yield _versions(handle)
        else:
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)


def _versions(handle: int) -> list[int]:
    try:
        versions: list[int] = json.loads(os.read(handle, 1000))
    except ValueError:
        return []
    return versions
