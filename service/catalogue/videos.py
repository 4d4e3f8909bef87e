"""Videos: accepted, edited, listed, deleted, each with its job and its change in one step."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, Row, delete, func, insert, select, tuple_, update

from qasir.contract.jobs import JobState
from qasir.errors import NotFound
from qasir.manifest import EmbeddingSpec
from service.catalogue import jobs, schema, sidecars
from service.catalogue.db import Database, record_change
from service.catalogue.jobs import Job
from service.catalogue.page import Page, cut
from service.catalogue.schema import of_specs
from service.folders import StateFolders

# A video has the state of its newest job.
VideoState = JobState
Metadata = Mapping[str, Any]
# Newest first: when a video was created, and its id.
VideoKey = tuple[float, str]


@dataclass(frozen=True)
class Video:
    """One video of the library; `created_at` in seconds since 1970.

    `indexed_seconds` is how much of `duration` decoded: less where the file is damaged.
    """

    id: str
    title: str
    metadata: Metadata
    sha256: str
    bytes: int
    duration: float
    width: int
    height: int
    codec: str
    container: str
    state: VideoState
    created_at: float
    indexed_seconds: float = 0.0


@dataclass(frozen=True)
class Details:
    """What an uploader says of a video; None: nothing."""

    title: str | None = None
    metadata: Metadata | None = None


UNCHANGED = Details()


@dataclass(frozen=True)
class Accepted:
    """An acknowledged upload.

    `is_new` is False where the same bytes were uploaded before; `is_updated`: this upload
    replaced the title or metadata of that video.
    """

    video: Video
    job: Job
    is_new: bool
    is_updated: bool = False


class Videos:
    """The videos of one catalogue; safe to share by threads."""

    def __init__(
        self, database: Database, folders: StateFolders, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._folders = folders
        self._clock = clock

    def accept(
        self, video: Video, details: Details = UNCHANGED, traceparent: str | None = None
    ) -> Accepted:
        """Store a video and queue its ingest; bytes that are here already keep their id.

        `details` are what the uploader said explicitly: they replace those of an existing video.
        A video whose ingest failed gets a new job: sending it again means trying again.
        """
        accepted = self._accept(video, details, traceparent)
        # Last, because it says that the video was acknowledged.
        self._write_sidecar(accepted.video)
        return accepted

    def update(self, video_id: str, details: Details) -> Video:
        """Replace a video's title and metadata by those that are given.

        Raises:
            NotFound: there is none with this id.
        """
        with self._database.writing() as connection:
            _edit(connection, get(connection, video_id), details)
            video = get(connection, video_id)
        self._write_sidecar(video)
        return video

    def get(self, video_id: str) -> Video:
        """One video.

        Raises:
            NotFound: there is none with this id.
        """
        with self._database.reading() as connection:
            return get(connection, video_id)

    def page(self, limit: int, after: VideoKey | None = None) -> Page[Video, VideoKey]:
        """A page of videos, newest first, from the one after a key."""
        order = tuple_(schema.videos.c.created_at, schema.videos.c.id)
        query = select(schema.videos).order_by(
            schema.videos.c.created_at.desc(), schema.videos.c.id.desc()
        )
        if after is not None:
            query = query.where(order < after)
        with self._database.reading() as connection:
            rows = [_video(row) for row in connection.execute(query.limit(limit + 1))]
        return cut(rows, limit, lambda video: (video.created_at, video.id))

    def count(self) -> int:
        """How many videos there are."""
        with self._database.reading() as connection:
            return connection.execute(select(func.count()).select_from(schema.videos)).scalar_one()

    def among(self, video_ids: Sequence[str]) -> dict[str, Video]:
        """Those of `video_ids` that exist."""
        with self._database.reading() as connection:
            return among(connection, video_ids)

    def ids(self) -> set[str]:
        """Every video id."""
        with self._database.reading() as connection:
            return set(connection.execute(select(schema.videos.c.id)).scalars())

    def delete(self, video_id: str) -> None:
        """Remove a video with its jobs and vector rows: no search finds it from now on.

        Raises:
            NotFound: there is none with this id.
        """
        with self._database.writing() as connection:
            row = delete(schema.videos).where(schema.videos.c.id == video_id)
            if connection.execute(row).rowcount == 0:
                raise NotFound(f"no video '{video_id[:60]}'; it may have been deleted already")
            record_change(connection, "deleted", video_id)

    def write_sidecars(self) -> int:
        """Write the sidecars that a crash kept from being written; how many that were."""
        with self._database.reading() as connection:
            every = [_video(row) for row in connection.execute(select(schema.videos))]
        return sum(self._write_sidecar(video) for video in every)

    def _accept(self, video: Video, details: Details, traceparent: str | None) -> Accepted:
        with self._database.writing() as connection:
            stored = among(connection, [video.id]).get(video.id)
            is_updated = stored is not None and _edit(connection, stored, details)
            if stored is None:
                add(connection, video)
            elif stored.state in ("failed", "cancelled"):
                jobs.set_video_state(connection, stored.id, "queued")
            else:
                job = jobs.newest_of(connection, stored.id)
                return Accepted(get(connection, stored.id), job, False, is_updated)
            jobs.add(connection, video.id, self._clock(), traceparent=traceparent)
            job = jobs.newest_of(connection, video.id)
            return Accepted(get(connection, video.id), job, stored is None, is_updated)

    def _write_sidecar(self, video: Video) -> bool:
        sidecar = sidecars.Sidecar(
            title=video.title, metadata=dict(video.metadata), created_at=video.created_at
        )
        return sidecars.write(self._folders.media / video.id, sidecar)


def add(connection: Connection, video: Video) -> None:
    """Insert a video."""
    row = {**asdict(video), "metadata": dict(video.metadata)}
    connection.execute(insert(schema.videos).values(**row))


def get(connection: Connection, video_id: str) -> Video:
    """The video with this id.

    Raises:
        NotFound: there is none.
    """
    video = among(connection, [video_id]).get(video_id)
    if video is None:
        raise NotFound(
            f"no video '{video_id[:60]}'; `qasir videos list` or GET /v1/videos lists them"
        )
    return video


def among(connection: Connection, video_ids: Sequence[str]) -> dict[str, Video]:
    """Those of `video_ids` that exist, by id."""
    rows = connection.execute(select(schema.videos).where(schema.videos.c.id.in_(video_ids)))
    return {row.id: _video(row) for row in rows}


def indexed_with(connection: Connection, spec: EmbeddingSpec) -> dict[str, Video]:
    """Every video that has vectors of this spec, by id."""
    both = schema.videos.join(schema.vectors)
    query = select(schema.videos).select_from(both).where(of_specs(schema.vectors, [spec]))
    return {row.id: _video(row) for row in connection.execute(query)}


def _edit(connection: Connection, video: Video, details: Details) -> bool:
    given = {"title": details.title, "metadata": details.metadata}
    changed = {
        name: value
        for name, value in given.items()
        if value is not None and value != getattr(video, name)
    }
    if changed:
        row = schema.videos.c.id == video.id
        connection.execute(update(schema.videos).where(row).values(**changed))
        record_change(connection, "edited", video.id)
    return bool(changed)


def _video(row: Row[Any]) -> Video:
    return Video(**row._mapping)
