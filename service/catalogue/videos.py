"""Videos: accepted, edited, listed, deleted, each with its job and its change in one step.

What follows neither from a video's bytes nor from its vectors is also written beside its bytes, in
`media/<id>/video.json`. The row is the truth, and this sidecar is a copy that survives the
catalogue. It is written after the row, so it says that the video was acknowledged once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError
from sqlalchemy import Connection, Row, delete, func, insert, select, tuple_, update

from qasir.artifacts import atomic_write
from qasir.contract.jobs import JobState
from qasir.errors import NotFound
from qasir.manifest import EmbeddingSpec
from service.catalogue import jobs, schema
from service.catalogue.db import SIDECAR_NAME, Page, Repository
from service.catalogue.jobs import Job
from service.catalogue.schema import of_specs, record_change

Metadata = Mapping[str, Any]
# Newest first: when a video was created, and its id.
VideoKey = tuple[float, str]


@dataclass(frozen=True)
class Video:
    """One video of the library; `created_at` in seconds since 1970, `state` of its newest job.

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
    state: JobState
    created_at: float
    indexed_seconds: float = 0.0


@dataclass(frozen=True)
class Details:
    """The title and metadata that an uploader gives; None: not given."""

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


class Sidecar(BaseModel):
    """The part of a video that is written beside its bytes."""

    model_config = ConfigDict(frozen=True)

    title: str
    metadata: dict[str, Any]
    created_at: float

    @classmethod
    def read(cls, folder: Path) -> "Sidecar | None":
        """Read the sidecar of a video's media folder; None where it is missing or unreadable."""
        try:
            return cls.model_validate_json((folder / SIDECAR_NAME).read_bytes())
        except (OSError, ValidationError):
            return None

    def write(self, folder: Path) -> bool:
        """Write the sidecar of a media folder that exists; return whether it differed."""
        if not folder.is_dir() or Sidecar.read(folder) == self:
            return False
        with atomic_write(folder / SIDECAR_NAME) as file:
            file.write(self.model_dump_json().encode())
        return True


class Videos(Repository):
    """The videos of one catalogue."""

    def accept(
        self, video: Video, details: Details = UNCHANGED, traceparent: str | None = None
    ) -> Accepted:
        """Store a video and queue its ingest; bytes that are here already keep their id.

        `details` were given by the uploader: they replace those of an existing video.
        A video whose ingest failed gets a new job.
        """
        accepted = self._accept(video, details, traceparent)
        # Last, because it says that the video was acknowledged.
        self._write_sidecar(accepted.video)
        return accepted

    def update(self, video_id: str, details: Details) -> Video:
        """Replace a video's title and metadata by those that are given, or raise NotFound."""
        with self.database.writing() as connection:
            _edit(connection, get(connection, video_id), details)
            video = get(connection, video_id)
        self._write_sidecar(video)
        return video

    def get(self, video_id: str) -> Video:
        """Return a video, or raise NotFound."""
        with self.database.reading() as connection:
            return get(connection, video_id)

    def page(self, limit: int, after: VideoKey | None = None) -> Page[Video, VideoKey]:
        """Read a page of videos, newest first, from the one after a key."""
        created_at, video_id = schema.videos.c.created_at, schema.videos.c.id
        query = select(schema.videos).order_by(created_at.desc(), video_id.desc())
        if after is not None:
            query = query.where(tuple_(created_at, video_id) < after)
        with self.database.reading() as connection:
            rows = [_video(row) for row in connection.execute(query.limit(limit + 1))]
        return Page.cut(rows, limit, lambda video: (video.created_at, video.id))

    def count(self) -> int:
        with self.database.reading() as connection:
            return connection.execute(select(func.count()).select_from(schema.videos)).scalar_one()

    def among(self, video_ids: Sequence[str]) -> dict[str, Video]:
        """Return those of `video_ids` that exist, by id."""
        with self.database.reading() as connection:
            return among(connection, video_ids)

    def ids(self) -> set[str]:
        with self.database.reading() as connection:
            return set(connection.execute(select(schema.videos.c.id)).scalars())

    def delete(self, video_id: str) -> None:
        """Remove a video with its jobs and vector rows, or raise NotFound.

        No search finds it from now on.
        """
        with self.database.writing() as connection:
            row = delete(schema.videos).where(schema.videos.c.id == video_id)
            if connection.execute(row).rowcount == 0:
                raise NotFound(f"no video '{video_id[:60]}'; it may have been deleted already")
            record_change(connection, "deleted", video_id)

    def write_sidecars(self) -> int:
        """Write the sidecars that a crash left unwritten, and count them."""
        with self.database.reading() as connection:
            every = [_video(row) for row in connection.execute(select(schema.videos))]
        return sum(self._write_sidecar(video) for video in every)

    def _accept(self, video: Video, details: Details, traceparent: str | None) -> Accepted:
        with self.database.writing() as connection:
            stored = among(connection, [video.id]).get(video.id)
            is_updated = stored is not None and _edit(connection, stored, details)
            if stored is None:
                add(connection, video)
            elif stored.state in ("failed", "cancelled"):
                jobs.set_video_state(connection, stored.id, "queued")
            else:
                job = jobs.newest_of(connection, stored.id)
                return Accepted(get(connection, stored.id), job, False, is_updated)
            jobs.add(connection, video.id, self.clock(), traceparent=traceparent)
            job = jobs.newest_of(connection, video.id)
            return Accepted(get(connection, video.id), job, stored is None, is_updated)

    def _write_sidecar(self, video: Video) -> bool:
        sidecar = Sidecar(
            title=video.title, metadata=dict(video.metadata), created_at=video.created_at
        )
        return sidecar.write(self.database.folders.media / video.id)


def add(connection: Connection, video: Video) -> None:
    row = {**asdict(video), "metadata": dict(video.metadata)}
    connection.execute(insert(schema.videos).values(**row))


def get(connection: Connection, video_id: str) -> Video:
    """Return the video with this id, or raise NotFound."""
    video = among(connection, [video_id]).get(video_id)
    if video is None:
        raise NotFound(
            f"no video '{video_id[:60]}'; `qasir videos list` or GET /v1/videos lists them"
        )
    return video


def among(connection: Connection, video_ids: Sequence[str]) -> dict[str, Video]:
    rows = connection.execute(select(schema.videos).where(schema.videos.c.id.in_(video_ids)))
    return {row.id: _video(row) for row in rows}


def indexed_with(connection: Connection, spec: EmbeddingSpec) -> dict[str, Video]:
    """Return every video that has vectors of this spec, by id."""
    both = schema.videos.join(schema.vectors)
    query = select(schema.videos).select_from(both).where(of_specs(schema.vectors, [spec]))
    return {row.id: _video(row) for row in connection.execute(query)}


def _edit(connection: Connection, video: Video, details: Details) -> bool:
    changed = {k: v for k, v in asdict(details).items() if v not in (None, getattr(video, k))}
    if changed:
        row = schema.videos.c.id == video.id
        connection.execute(update(schema.videos).where(row).values(**changed))
        record_change(connection, "edited", video.id)
    return bool(changed)


def _video(row: Row[Any]) -> Video:
    return Video(**row._mapping)
