"""Files: written atomically (temporary name, fsync, rename), their digest, and which are videos."""

import hashlib
import mimetypes
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

NO_VIDEO = ("text/", "image/", "application/json")
# `mimetypes` takes .ts for a Qt translation; cameras write MPEG transport streams.
TRANSPORT_STREAM = ".ts"


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file that replaces `path` if the block succeeds.

    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with atomic_write(Path(folder) / "a.txt") as file:
    ...         _ = file.write(b"whole")
    ...     (Path(folder) / "a.txt").read_bytes()
    b'whole'
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own for each writer, because threads of one process may write the same file.
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make new and renamed files in `folder` survive a power failure."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256_of(path: Path) -> str:
    """Return the hex SHA-256 of a file, read in chunks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def may_be_video(path: Path) -> bool:
    """Return whether a file's name allows a video, to skip subtitles, pictures and notes.

    Unknown types pass, because only decoding can tell.

    >>> [may_be_video(Path(name)) for name in ("a.mp4", "a.srt", "a.json", "a", "a.ts")]
    [True, False, False, True, True]
    """
    if path.suffix.lower() == TRANSPORT_STREAM:
        return True
    kind, _ = mimetypes.guess_type(path.name)
    return kind is None or not kind.startswith(NO_VIDEO)
