"""Uploaded files: received in pieces, stored under the name of their content, deleted whole.

The order of every step is chosen for a process that dies in between: a file is in place
before the row that promises it, and a row is gone before the file it promised. What a
crash leaves behind is a file that no row names; `sweep` sets those aside.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from qasir.artifacts import sync_folder
from qasir.errors import InvalidInput, StorageFull, UploadTooLarge
from service.catalogue.vector_files import VectorFile
from service.folders import StateFolders
from service.lock import locked
from service.storage.orphans import OrphanBatch, OrphanFolder

# How often, in bytes, a running upload looks at the disk.
DISK_CHECK_BYTES = 64 << 20
SHEETS = "sheets"

# By the name FFmpeg gives the container; it reads mp4 and mov, mkv and webm alike.
MEDIA_TYPES = {
    "mov,mp4,m4a,3gp,3g2,mj2": "video/mp4",
    "matroska,webm": "video/webm",
    "avi": "video/x-msvideo",
    "mpegts": "video/mp2t",
    "mpeg": "video/mpeg",
    "ogg": "video/ogg",
    "flv": "video/x-flv",
    "asf": "video/x-ms-wmv",
}

T = TypeVar("T")


def media_type(container: str) -> str:
    """Return the type by which browsers play a container; unknown bytes are only to be saved.

    >>> media_type("avi"), media_type("")
    ('video/x-msvideo', 'application/octet-stream')
    """
    return MEDIA_TYPES.get(container, "application/octet-stream")


@dataclass(frozen=True)
class ReceivedFile:
    """A complete upload at a temporary place; its video id follows from its bytes."""

    path: Path
    sha256: str
    bytes: int

    @property
    def video_id(self) -> str:
        return f"v{self.sha256[:20]}"


@dataclass(frozen=True)
class Swept:
    """What a sweep found: dead uploads, now removed, and orphans, now set aside in `batch`."""

    uploads: int
    orphans: OrphanBatch


class UploadWriter:
    """An upload in progress: hashed, counted and bounded as it is written."""

    def __init__(self, path: Path, media: "MediaStore") -> None:
        self._path = path
        self._media = media
        self._file = path.open("xb")
        # The lock says "alive": a sweep leaves this file alone until this process is gone.
        fcntl.flock(self._file, fcntl.LOCK_EX)
        self._hash = hashlib.sha256()
        self._count = 0
        self._next_check = DISK_CHECK_BYTES

    def write(self, piece: bytes) -> None:
        """Take the next bytes.

        Raises:
            UploadTooLarge: more bytes than the limit.
            StorageFull: the disk's reserve would be used up.
        """
        self._count += len(piece)
        self._media.check_size(self._count)
        if self._count >= self._next_check:
            self._media.check_space(len(piece))
            self._next_check = self._count + DISK_CHECK_BYTES
        self._file.write(piece)
        self._hash.update(piece)

    def finish(self) -> ReceivedFile:
        """Make the bytes durable.

        Raises:
            InvalidInput: there were none.
        """
        if self._count == 0:
            raise InvalidInput("an upload of 0 bytes is no video; send the whole file")
        self._file.flush()
        os.fsync(self._file.fileno())
        return ReceivedFile(self._path, self._hash.hexdigest(), self._count)

    def close(self) -> None:
        """Remove the bytes unless they were stored."""
        self._file.close()
        self._path.unlink(missing_ok=True)


@dataclass
class MediaStore:
    """The files of `media/` and `vectors/`, safe to share by processes and threads."""

    folders: StateFolders
    max_bytes: int
    reserve_bytes: int

    def __post_init__(self) -> None:
        self.folders.create()

    def receive(self, expected_bytes: int = 0) -> AbstractContextManager[UploadWriter]:
        """Begin an upload of about this many bytes; leaving the block removes what was not stored.

        Raises:
            UploadTooLarge: the sender already says that it is over the limit.
            StorageFull: the disk has no room for it.
        """
        self.check_size(expected_bytes)
        self.check_space(expected_bytes)
        path = self.folders.uploads / f"{uuid.uuid4().hex}.part"
        with self._alone():
            return contextlib.closing(UploadWriter(path, self))

    def store(self, received: ReceivedFile, register: Callable[[], T]) -> T:
        """Put the file in its place and run `register`, with no delete or sweep in between."""
        place = self.original(received.video_id)
        with self._alone():
            if not place.is_file():
                place.parent.mkdir(parents=True, exist_ok=True)
                received.path.rename(place)
                sync_folder(place.parent)
                sync_folder(self.folders.media)
            return register()

    def delete(self, video_id: str, forget: Callable[[], None]) -> None:
        """Run `forget`, which removes the rows, then remove the files."""
        with self._alone():
            forget()
            own = [parent / video_id for parent in self._parents]
            trash = [self._to_trash(folder) for folder in own if folder.is_dir()]
        for folder in trash:
            shutil.rmtree(folder, ignore_errors=True)

    def tidy(self, video_id: str, named: Callable[[], Iterable[VectorFile]]) -> None:
        """Remove what an ingest of one video has written and no row names."""
        with self._alone():
            trash = [self._to_trash(path) for path in self._unnamed(video_id, named())]
            media = self.folders.media / video_id
            for folder in (self.folders.vectors / video_id, media / SHEETS, media):
                # An ingest of a video that was deleted meanwhile has made its folders again.
                with contextlib.suppress(OSError):
                    folder.rmdir()
        for path in trash:
            _remove(path)

    def sweep(
        self,
        video_ids: Callable[[], set[str]],
        named: Callable[[], Iterable[VectorFile]],
        orphans: OrphanFolder,
    ) -> Swept:
        """Remove unfinished uploads that no process writes, and set aside files that no row names.

        Only for the holder of the worker lock, before it writes vectors of its own.
        """
        with self._alone():
            dead = [self._to_trash(path) for path in self._dead_uploads()]
            # Never removed at once: the catalogue may be an older copy that does not know them.
            batch = orphans.set_aside([*self._orphans(video_ids(), named())])
        for path in [*dead, *self.folders.uploads.glob("trash-*")]:
            _remove(path)
        return Swept(uploads=len(dead), orphans=batch)

    def original(self, video_id: str) -> Path:
        """Return the path of a video's bytes."""
        return self.folders.media / video_id / "original"

    def previews(self, video_id: str, grid_size: int, fps: float) -> Path:
        """Return the folder of the previews of a video's super images."""
        return self.folders.media / video_id / SHEETS / f"n{grid_size}-fps{fps:g}"

    def vectors(self, path: str) -> Path:
        """Return the path of a vector file, given its path in the catalogue."""
        return self.folders.vectors / path

    def check_size(self, count: int) -> None:
        """Refuse more bytes than an upload may have; raises UploadTooLarge."""
        if count > self.max_bytes:
            raise UploadTooLarge(
                f"upload of {count} bytes or more: the limit is {self.max_bytes}; "
                f"send a smaller file or raise QASIR_MAX_UPLOAD_BYTES"
            )

    def check_space(self, count: int) -> None:
        """Refuse bytes that would use up the disk's reserve; raises StorageFull."""
        free = shutil.disk_usage(self.folders.root).free
        if free - count < self.reserve_bytes:
            raise StorageFull(
                f"{count} bytes do not fit: {free} bytes are free and {self.reserve_bytes} stay "
                f"in reserve; delete videos or lower QASIR_DISK_RESERVE_BYTES"
            )

    @property
    def _parents(self) -> tuple[Path, ...]:
        """List the folders in which a video may have one of its own."""
        folders = self.folders
        return folders.media, folders.vectors, folders.canary, folders.checkpoints

    def _alone(self) -> AbstractContextManager[None]:
        return locked(self.folders.run / "media.lock")

    def _to_trash(self, path: Path) -> Path:
        trash = self.folders.uploads / f"trash-{uuid.uuid4().hex}"
        path.rename(trash)
        return trash

    def _dead_uploads(self) -> Iterator[Path]:
        for path in self.folders.uploads.glob("*.part"):
            with path.open("rb") as file, contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                yield path

    def _orphans(self, video_ids: set[str], named: Iterable[VectorFile]) -> Iterator[Path]:
        for parent in self._parents:
            yield from (path for path in parent.iterdir() if path.name not in video_ids)
        files: defaultdict[str, list[VectorFile]] = defaultdict(list)
        for file in named:
            files[file.video_id].append(file)
        for video_id in video_ids:
            yield from self._unnamed(video_id, files[video_id])

    def _unnamed(self, video_id: str, named: Iterable[VectorFile]) -> Iterator[Path]:
        kept: set[Path] = set()
        for file in named:
            kept.add(self.vectors(file.path))
            kept.add(self.previews(video_id, file.grid_size, file.fps))
        vectors = (self.folders.vectors / video_id).glob("*")
        previews = (self.folders.media / video_id / SHEETS).glob("*")
        yield from (path for path in (*vectors, *previews) if path not in kept)


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
