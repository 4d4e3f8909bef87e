"""Rows of videos and of their vector files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    and_,
    delete,
    func,
    insert,
    select,
    tuple_,
    update,
)

from qasir.errors import NotFound
from qasir.manifest import EmbeddingSpec
from qasir.types import VideoInfo
from service.catalogue import schema
from service.catalogue.page import Page, cut

VideoState = Literal["queued", "running", "ready", "failed", "cancelled"]
Metadata = Mapping[str, Any]


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


# Newest first: when a video was created, and its id.
VideoKey = tuple[float, str]


@dataclass(frozen=True)
class VectorFile:
    """Where one video's vectors of one spec lie; `path` is relative to the vectors folder."""

    video_id: str
    fingerprint: str
    grid_size: int
    resolution: int
    fps: float
    path: str
    frames: int
    super_images: int
    seconds: float

    @property
    def spec(self) -> EmbeddingSpec:
        """What its vectors were made with."""
        return EmbeddingSpec(
            fingerprint=self.fingerprint,
            grid_size=self.grid_size,
            resolution=self.resolution,
            fps=self.fps,
        )


def of_spec(table: Table, spec: EmbeddingSpec) -> ColumnElement[bool]:
    """The rows of a table that has a spec's columns."""
    return and_(*(table.c[name] == value for name, value in spec))


def add(connection: Connection, video: Video) -> None:
    """Insert a video."""
    connection.execute(insert(schema.videos).values(**_values(video)))


def get(connection: Connection, video_id: str) -> Video:
    """The video with this id.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(
        select(schema.videos).where(schema.videos.c.id == video_id)
    ).one_or_none()
    if row is None:
        raise NotFound(
            f"no video '{video_id[:60]}'; `qasir videos list` or GET /v1/videos says what there is"
        )
    return _video(row)


def list_page(connection: Connection, limit: int, after: VideoKey | None) -> Page[Video, VideoKey]:
    """Videos, newest first, from the one after a key."""
    order = tuple_(schema.videos.c.created, schema.videos.c.id)
    query = select(schema.videos).order_by(
        schema.videos.c.created.desc(), schema.videos.c.id.desc()
    )
    if after is not None:
        query = query.where(order < after)
    rows = [_video(row) for row in connection.execute(query.limit(limit + 1))]
    return cut(rows, limit, lambda video: (video.created_at, video.id))


def page(connection: Connection, offset: int, limit: int) -> list[Video]:
    """Videos, newest first."""
    newest = (schema.videos.c.created.desc(), schema.videos.c.id)
    rows = connection.execute(select(schema.videos).order_by(*newest).offset(offset).limit(limit))
    return [_video(row) for row in rows]


def among(connection: Connection, ids: Sequence[str]) -> dict[str, Video]:
    """Those of `ids` that exist, by id."""
    rows = connection.execute(select(schema.videos).where(schema.videos.c.id.in_(ids)))
    return {row.id: _video(row) for row in rows}


def every(connection: Connection) -> list[Video]:
    """Every video."""
    return [_video(row) for row in connection.execute(select(schema.videos))]


def count(connection: Connection) -> int:
    """How many videos there are."""
    return connection.execute(select(func.count()).select_from(schema.videos)).scalar_one()


def ids(connection: Connection) -> set[str]:
    """Every video id."""
    return set(connection.execute(select(schema.videos.c.id)).scalars())


def set_state(connection: Connection, video_id: str, state: VideoState) -> None:
    """Follow the state of the video's newest job."""
    connection.execute(
        update(schema.videos).where(schema.videos.c.id == video_id).values(state=state)
    )


def edit(connection: Connection, video: Video, details: Details) -> bool:
    """Replace a video's title and metadata by those that are given; whether any differs."""
    given = {"title": details.title, "metadata": details.metadata}
    changed = {
        name: value
        for name, value in given.items()
        if value is not None and value != getattr(video, name)
    }
    if changed:
        row = schema.videos.c.id == video.id
        connection.execute(update(schema.videos).where(row).values(**changed))
    return bool(changed)


def set_info(connection: Connection, video_id: str, info: VideoInfo, seconds: float) -> None:
    """Keep what decoding found out about the file, `seconds` of which are indexed."""
    connection.execute(
        update(schema.videos)
        .where(schema.videos.c.id == video_id)
        .values(
            duration=info.duration or seconds,
            indexed_seconds=seconds,
            width=info.width,
            height=info.height,
            codec=info.codec,
            container=info.container,
        )
    )


def remove(connection: Connection, video_id: str) -> bool:
    """Delete a video with its jobs and vector rows; whether it was there."""
    found = connection.execute(delete(schema.videos).where(schema.videos.c.id == video_id))
    return found.rowcount == 1


def add_vectors(connection: Connection, file: VectorFile) -> None:
    """Name a vector file; one that it replaces becomes an orphan for the next sweep."""
    mine = of_spec(schema.vectors, file.spec)
    connection.execute(
        delete(schema.vectors).where(schema.vectors.c.video_id == file.video_id, mine)
    )
    connection.execute(insert(schema.vectors).values(**file.__dict__))


def vectors_with(
    connection: Connection, spec: EmbeddingSpec, ids: Sequence[str] | None = None
) -> list[VectorFile]:
    """Vector files of this spec: all of them, or those of the given videos."""
    query = select(schema.vectors).where(of_spec(schema.vectors, spec))
    if ids is not None:
        query = query.where(schema.vectors.c.video_id.in_(ids))
    return [VectorFile(**row._mapping) for row in connection.execute(query)]


def indexed_with(connection: Connection, spec: EmbeddingSpec) -> dict[str, Video]:
    """Every video that has vectors of this spec, by id."""
    both = schema.videos.join(schema.vectors)
    query = select(schema.videos).select_from(both).where(of_spec(schema.vectors, spec))
    return {row.id: _video(row) for row in connection.execute(query)}


def vectors_of(connection: Connection, video_id: str) -> list[VectorFile]:
    """Every vector file of one video."""
    query = select(schema.vectors).where(schema.vectors.c.video_id == video_id)
    return [VectorFile(**row._mapping) for row in connection.execute(query)]


def super_images(connection: Connection, spec: EmbeddingSpec) -> tuple[int, int]:
    """How many videos are held under a spec, and super images of them."""
    held = schema.vectors.c
    query = select(func.count(), func.coalesce(func.sum(held.super_images), 0)).where(
        of_spec(schema.vectors, spec)
    )
    count, number = connection.execute(query).one()
    return int(count), int(number)


def all_vectors(connection: Connection) -> list[VectorFile]:
    """Every vector file that a row names."""
    return [VectorFile(**row._mapping) for row in connection.execute(select(schema.vectors))]


def _video(row: Row[Any]) -> Video:
    fields = dict(row._mapping)
    return Video(created_at=fields.pop("created"), **fields)


def _values(video: Video) -> dict[str, Any]:
    fields = {**video.__dict__, "metadata": dict(video.metadata)}
    return {"created": fields.pop("created_at"), **fields}
