"""Uploads that may be interrupted: what has arrived stays, whatever stops.

    uploads/resumable/<id>/about.json   what was announced, and what became of it; replaced whole
                           data         the bytes so far; its size is the offset
                           lock         held by the one request that works on this upload
                           wanted       another request asks for the lock: the holder closes

All of it is files, so any process goes on where another was killed. Data becomes media by a rename.
Whichever request finds the bytes complete finishes; doing so twice changes nothing.
"""

import contextlib
import fcntl
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from pydantic import BaseModel, ConfigDict, ValidationError

from qasir.artifacts import atomic_write, sha256_of
from qasir.contract.videos import Upload, UploadHeader
from qasir.errors import Conflict, InvalidInput, NotFound, Overloaded
from service.storage.media import DISK_CHECK_BYTES, MediaStore, ReceivedFile

# What `create` gives out; nothing else becomes part of a path.
UPLOAD_ID = re.compile("[0-9a-f]{32}")
ABOUT, DATA, LOCK, WANTED = "about.json", "data", "lock", "wanted"
PAUSE_SECONDS = 0.05
# How long one request waits for another to close the same upload.
PATIENCE_SECONDS = 5.0


class UploadInfo(BaseModel):
    """What a client announced; `sha256` once all is there, `upload` once it is a video.

    `metadata_text` is the Upload-Metadata as the client sent it, for the answer to HEAD.
    """

    model_config = ConfigDict(frozen=True)

    length: int
    metadata_text: str
    header: UploadHeader
    sha256: str | None = None
    upload: Upload | None = None


class UploadSession:
    """One upload, locked by one request until `close`."""

    def __init__(self, folder: Path, lock: BinaryIO, info: UploadInfo, media: MediaStore) -> None:
        self._folder = folder
        self._lock = lock
        self._media = media
        self._next_check = 0
        self.info = info
        # Unbuffered: a failed write leaves nothing behind that would be written later.
        self._file = None if info.sha256 else (folder / DATA).open("ab", buffering=0)

    @property
    def offset(self) -> int:
        return self.info.length if self._file is None else os.fstat(self._file.fileno()).st_size

    @property
    def requested(self) -> bool:
        """Return whether another request waits for this one to close."""
        return (self._folder / WANTED).exists()

    def write(self, piece: bytes) -> None:
        """Append bytes.

        Raises:
            InvalidInput: more than were announced.
            StorageFull: the disk's reserve would be used up.
        """
        end = self.offset + len(piece)
        if self._file is None or end > self.info.length:
            raise InvalidInput(f"{end} bytes of an upload announced as {self.info.length}")
        if end > self._next_check:
            self._media.check_space(len(piece))
            self._next_check = end + DISK_CHECK_BYTES
        rest = memoryview(piece)
        while rest:
            rest = rest[self._file.write(rest) :]

    def sync(self) -> int:
        """Make what has arrived durable, and return its size: the offset that may be promised."""
        if self._file is not None:
            os.fsync(self._file.fileno())
        return self.offset

    def finish(self, accept: Callable[[ReceivedFile], Upload]) -> None:
        """Hand complete bytes over, once.

        Raises:
            NotFound: a crash has lost them; nothing had been promised.
        """
        data = self._folder / DATA
        if self.info.sha256 is None:
            # Written first, so that the next process knows what the data was.
            self._rewrite(sha256=sha256_of(data))
        if self.info.upload is None:
            received = ReceivedFile(data, str(self.info.sha256), self.info.length)
            try:
                self._rewrite(upload=accept(received))
            except FileNotFoundError as error:
                raise NotFound("the upload was lost in a crash; begin it again") from error
        data.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the upload and its bytes."""
        shutil.rmtree(self._folder)

    def close(self) -> None:
        """Release the upload for the next request."""
        if self._file is not None:
            self._file.close()
        self._lock.close()

    def _rewrite(self, **changed: str | Upload) -> None:
        self.info = self.info.model_copy(update=changed)
        _write(self.info, self._folder)


@dataclass
class UploadStore:
    """The unfinished uploads of a state folder; safe to share by threads and processes."""

    root: Path
    media: MediaStore
    max_unfinished: int
    keep_seconds: float

    def __post_init__(self) -> None:
        self.root.mkdir(parents=True, exist_ok=True)

    def create(self, info: UploadInfo) -> str:
        """Reserve room for an upload and return its id.

        Raises:
            UploadTooLarge, StorageFull: there is no room for it beside the others.
            Overloaded: too many are unfinished.
        """
        self.sweep()
        others = [f for f in self.root.iterdir() if (f / DATA).exists()]
        if len(others) >= self.max_unfinished:
            raise Overloaded(
                f"{len(others)} uploads are unfinished, the limit is {self.max_unfinished}; "
                f"finish or DELETE some, or raise QASIR_MAX_UNFINISHED_UPLOADS"
            )
        self.media.check_size(info.length)
        self.media.check_space(info.length + sum(_missing(folder) for folder in others))
        upload_id = uuid.uuid4().hex
        # Renamed last, so that no process sees half of it.
        new = self.root / f".{upload_id}"
        new.mkdir()
        for name in (DATA, LOCK):
            (new / name).touch()
        _write(info, new)
        new.rename(self.root / upload_id)
        return upload_id

    def acquire(self, upload_id: str) -> UploadSession:
        """Open an upload; another request that has it is asked to close it.

        Raises:
            NotFound: there is none, or it has expired.
            Conflict: the other request did not close it in time.
        """
        folder = self.root / upload_id
        try:
            with contextlib.ExitStack() as opened:
                if not UPLOAD_ID.fullmatch(upload_id):
                    raise FileNotFoundError
                lock = opened.enter_context((folder / LOCK).open("rb+"))
                _lock(lock, folder)
                if self.expires(upload_id) < time.time():
                    raise FileNotFoundError
                session = UploadSession(folder, lock, _read(folder), self.media)
                # From here on the session closes the lock.
                opened.pop_all()
                return session
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(
                f"no upload '{upload_id[:60]}'; it may have expired: begin it again"
            ) from error

    def expires(self, upload_id: str) -> float:
        """Return when an upload is given up unless it goes on, in seconds since 1970."""
        return _touched(self.root / upload_id) + self.keep_seconds

    def sweep(self) -> int:
        """Remove expired uploads that no request has open, and count them."""
        removed = 0
        for folder in self.root.iterdir():
            with contextlib.suppress(FileNotFoundError, BlockingIOError):
                if _touched(folder) + self.keep_seconds < time.time():
                    with (folder / LOCK).open("rb") as lock:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        shutil.rmtree(folder)
                    removed += 1
        return removed


def _lock(lock: BinaryIO, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                raise Conflict("another request works on this upload; try again soon") from error
            (folder / WANTED).touch()
            time.sleep(PAUSE_SECONDS)
        else:
            (folder / WANTED).unlink(missing_ok=True)
            return


def _touched(folder: Path) -> float:
    """Return when something last arrived."""
    places = (folder / DATA, folder / ABOUT, folder)
    return next(place.stat().st_mtime for place in places if place.exists() or place == folder)


def _missing(folder: Path) -> int:
    try:
        return _read(folder).length - (folder / DATA).stat().st_size
    except FileNotFoundError:
        return 0


def _read(folder: Path) -> UploadInfo:
    try:
        return UploadInfo.model_validate_json((folder / ABOUT).read_bytes())
    except ValidationError as error:
        raise FileNotFoundError from error


def _write(info: UploadInfo, folder: Path) -> None:
    with atomic_write(folder / ABOUT) as file:
        file.write(info.model_dump_json().encode())
