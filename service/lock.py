"""Locks between processes that a crash releases: `flock` on a file of the state folder."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from qasir.errors import Conflict

POLL_SECONDS = 0.01


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file exclusively, waiting for whoever has it."""
    with locked_within(path, None):
        yield


@contextmanager
def locked_within(path: Path, patience_seconds: float | None) -> Iterator[bool]:
    """Hold the lock file exclusively; yields False if that takes longer than the patience."""
    handle = _open(path)
    try:
        yield _acquire(handle, patience_seconds)
    finally:
        os.close(handle)


def _acquire(handle: int, patience_seconds: float | None) -> bool:
    if patience_seconds is None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return True
    end = time.monotonic() + patience_seconds
    while not _try(handle):
        if time.monotonic() >= end:
            return False
        time.sleep(POLL_SECONDS)
    return True


def _try(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def only_one(path: Path, what: str) -> Iterator[None]:
    """Hold the lock file for a process's life, or refuse at once.

    Raises:
        Conflict: another live process holds it.
    """
    handle = _open(path)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(handle, 0)
        os.write(handle, f"{os.getpid()}\n".encode())
        yield
    except BlockingIOError as error:
        holder = path.read_text().strip() or "unknown"
        raise Conflict(
            f"another {what} (process {holder}) already works on {path.parent.parent}; "
            f"stop it, or set QASIR_STATE to another folder"
        ) from error
    finally:
        os.close(handle)


class SharedLock:
    """A lock file held together with others until `close` or the end of the process.

    Raises:
        Conflict: another process holds it alone, for `what`.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._handle: int | None = _open(path)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            self.close()
            raise Conflict(f"{what} is running on {path.parent.parent}; wait for it") from error

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    # A descriptor of its own per holder: flock then also excludes threads of one process.
    return os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
