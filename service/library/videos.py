"""What can be done with videos, before any transport."""

import json
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path, PurePath
from time import time
from typing import Any

from qasir.errors import Conflict, InvalidInput, NotFound
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import Job
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Accepted, Video
from service.library.jobs import Jobs
from service.observability.tracing import traceparent
from service.settings import Settings
from service.storage.media import MediaStore, ReceivedFile, UploadWriter
from service.storage.previews import read_cell, read_preview


@dataclass(frozen=True)
class Page:
    """Some of the videos, newest first, and how many there are in all."""

    videos: list[Video]
    total: int


class Videos:
    """The library's videos: received, listed, shown, deleted; safe to share by threads."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, media: MediaStore, jobs: Jobs
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._jobs = jobs
        self._media = media

    def receive(self, expected_bytes: int = 0) -> AbstractContextManager[UploadWriter]:
        """Begin an upload.

        Raises:
            Overloaded: too many videos wait to be ingested already.
            UploadTooLarge, StorageFull: there is no room for it.
        """
        self._jobs.check_room()
        return self._media.receive(expected_bytes)

    def keep(self, received: ReceivedFile, title: str, metadata: Mapping[str, Any]) -> Accepted:
        """Acknowledge an upload: from here on no crash loses it."""
        video = Video(
            id=received.video_id,
            title=title,
            metadata=metadata,
            sha256=received.sha256,
            bytes=received.bytes,
            duration=0.0,
            width=0,
            height=0,
            codec="",
            container="",
            state="queued",
            created_at=time(),
        )
        return self._media.keep(
            received, lambda: self._catalogue.videos.accept(video, traceparent=traceparent())
        )

    def title(self, given: str | None, filename: str | None) -> str:
        """The title of an upload: what was given, else its file name without the suffix.

        Raises:
            InvalidInput: it is too long.
        """
        text = given if given is not None else PurePath(filename or "").stem
        cleaned = " ".join("".join(c if c.isprintable() else " " for c in text).split())
        limit = self._settings.max_title_chars
        if len(cleaned) > limit:
            raise InvalidInput(f"title of {len(cleaned)} characters: the limit is {limit}")
        return cleaned or "untitled"

    def metadata(self, given: str | None) -> dict[str, Any]:
        """The metadata of an upload, sent as the text of a JSON object.

        Raises:
            InvalidInput: it is too long, no JSON, or no object.
        """
        text, limit = given or "{}", self._settings.max_metadata_bytes
        if len(text.encode()) > limit:
            raise InvalidInput(f"metadata of {len(text.encode())} bytes: the limit is {limit}")
        try:
            value = json.loads(text)
            # What cannot be sent back is refused now: lone surrogates, infinities, NaN.
            json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
        except (ValueError, RecursionError) as error:
            raise InvalidInput(f"metadata is no plain JSON ({error}); send an object") from error
        if not isinstance(value, dict):
            raise InvalidInput(f'metadata is {text[:40]}, no JSON object; send {{"key": "value"}}')
        return value

    def page(self, offset: int, limit: int) -> Page:
        """Some of the videos, newest first."""
        videos = self._catalogue.videos
        return Page(videos.slice(offset, limit), videos.count())

    def get(self, video_id: str) -> tuple[Video, Job]:
        """A video and its newest job.

        Raises:
            NotFound: there is none with this id.
        """
        return self._catalogue.videos.get(video_id), self._catalogue.jobs.newest_of(video_id)

    def delete(self, video_id: str) -> None:
        """Remove a video with everything made of it; no later search finds it.

        Raises:
            NotFound: there is none with this id.
        """
        self._media.delete(video_id, lambda: self._catalogue.videos.delete(video_id))

    def media(self, video_id: str) -> tuple[Video, Path]:
        """A video and the file with the bytes that were uploaded."""
        return self._catalogue.videos.get(video_id), self._media.original(video_id)

    def thumbnail(self, video_id: str, seconds: float) -> bytes:
        """A JPEG of the frame that stands for this time; past the end, of the last one."""
        file = self._vectors(video_id, None)
        frame = min(max(0, int(seconds * file.fps)), file.frames - 1)
        return read_cell(self._sheets(file), file.grid_size, frame)

    def super_image(self, video_id: str, number: int, grid_size: int | None) -> bytes:
        """A JPEG of super image `number`, its frames in their own aspect."""
        file = self._vectors(video_id, grid_size)
        if number >= file.super_images:
            raise NotFound(
                f"no super image {number}: video '{video_id}' has {file.super_images} at grid "
                f"size {file.grid_size}, numbered from 0"
            )
        return read_preview(self._sheets(file), number)

    def _vectors(self, video_id: str, grid_size: int | None) -> VectorFile:
        video = self._catalogue.videos.get(video_id)
        files = self._catalogue.vector_files.of_video(video_id)
        if not files:
            raise Conflict(f"video '{video_id}' is {video.state}; pictures come with 'ready'")
        wanted = [file for file in files if grid_size in (None, file.grid_size)]
        if not wanted:
            known = sorted({file.grid_size for file in files})
            raise NotFound(
                f"video '{video_id}' has no super images of grid size {grid_size}; it has {known}"
            )
        return min(wanted, key=lambda file: file.grid_size)

    def _sheets(self, file: VectorFile) -> Path:
        return self._media.previews(file.video_id, file.grid_size, file.fps)
