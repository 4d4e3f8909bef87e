"""Vector files: which immutable file holds a video's embeddings of which spec."""

import errno
import time
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import structlog
from sqlalchemy import (
    ColumnElement,
    Connection,
    and_,
    delete,
    func,
    insert,
    select,
)

from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec
from qasir.vectors import read_vectors
from service.catalogue import backfills, jobs, schema
from service.catalogue.db import Database, record_change
from service.catalogue.schema import of_specs
from service.folders import StateFolders

# A process that may open no file now, or a share that is away, says nothing of the file.
TEMPORARY_ERRORS = frozenset(
    (
        errno.EACCES,
        errno.EPERM,
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.ESTALE,
        errno.ETIMEDOUT,
        errno.ENOTCONN,
    )
)

log = structlog.get_logger()


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


class VectorFiles:
    """The vector files of one catalogue."""

    def __init__(
        self, database: Database, folders: StateFolders, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._folders = folders
        self._clock = clock

    def all(self) -> list[VectorFile]:
        """Every vector file."""
        with self._database.reading() as connection:
            return every(connection)

    def of_video(self, video_id: str) -> list[VectorFile]:
        """Every vector file of one video."""
        with self._database.reading() as connection:
            return _files(connection, schema.vectors.c.video_id == video_id)

    def of_spec(self, spec: EmbeddingSpec, video_ids: Sequence[str]) -> dict[str, VectorFile]:
        """The vector files of one spec, by video id, of those videos that have one."""
        with self._database.reading() as connection:
            return {file.video_id: file for file in with_spec(connection, spec, video_ids)}

    def looks_whole(self, file: VectorFile) -> bool:
        """Whether the file exists and ends as an archive does; far cheaper than reading it."""
        return zipfile.is_zipfile(self._folders.vectors / file.path)

    def report_unreadable(self, path: str, *, searched: bool = True) -> bool:
        """Drop the row of a file that is missing or damaged; whether it was dropped.

        searched: searches use this spec, so the video is not ready until it is ingested again from
        its media. Other vectors are found missing, and filled in, by the worker.
        """
        with self._database.reading() as connection:
            rows = _files(connection, schema.vectors.c.path == path)
        reason = rows and _damage(self._folders.vectors / path, rows[0].spec)
        if not reason:
            return False
        with self._database.writing() as connection:
            if not self._drop(connection, rows[0], searched=searched):
                return False
        log.error(
            "vectors are unreadable",
            video_id=rows[0].video_id,
            detail=reason,
            remedy="the video is encoded again from its media",
        )
        return True

    def _drop(self, connection: Connection, file: VectorFile, *, searched: bool) -> bool:
        row = delete(schema.vectors).where(schema.vectors.c.path == file.path)
        if connection.execute(row).rowcount == 0:
            # Another process was faster, or the video was deleted meanwhile.
            return False
        record_change(connection, "unreadable", file.video_id, file.spec)
        state = select(schema.videos.c.state).where(schema.videos.c.id == file.video_id)
        if searched and connection.execute(state).scalar_one() == "ready":
            jobs.set_video_state(connection, file.video_id, "queued")
            jobs.add(connection, file.video_id, self._clock())
        return True

    def remove(self, fingerprint: str, keep: Sequence[EmbeddingSpec]) -> list[VectorFile]:
        """Remove the rows of a model's vectors, but those of `keep`; the files they named."""
        with self._database.writing() as connection:
            vectors, specs = (
                and_(table.c.fingerprint == fingerprint, ~of_specs(table, keep))
                for table in (schema.vectors, schema.job_specs)
            )
            files = _files(connection, vectors)
            connection.execute(delete(schema.vectors).where(vectors))
            backfills.forget(connection, specs)
            return files


def _damage(path: Path, spec: EmbeddingSpec) -> str | None:
    """What is wrong with a vector file; None: nothing, or only that it cannot be opened now."""
    try:
        found = read_vectors(path).spec
    except CorruptArtifact as error:
        cause = error.__cause__
        temporary = isinstance(cause, OSError) and cause.errno in TEMPORARY_ERRORS
        return None if temporary else str(error)
    return None if found == spec else f"{path} has vectors of {found}, not of {spec}"


def add(connection: Connection, file: VectorFile) -> None:
    """Name a vector file; one that it replaces becomes an orphan for the next sweep."""
    replaced = of_specs(schema.vectors, [file.spec])
    connection.execute(
        delete(schema.vectors).where(schema.vectors.c.video_id == file.video_id, replaced)
    )
    connection.execute(insert(schema.vectors).values(**asdict(file)))


def every(connection: Connection) -> list[VectorFile]:
    """Every vector file."""
    return _files(connection)


def with_spec(
    connection: Connection, spec: EmbeddingSpec, video_ids: Sequence[str] | None = None
) -> list[VectorFile]:
    """Vector files of this spec: all of them, or those of the given videos."""
    matches = of_specs(schema.vectors, [spec])
    if video_ids is not None:
        matches = and_(matches, schema.vectors.c.video_id.in_(video_ids))
    return _files(connection, matches)


def count(connection: Connection, spec: EmbeddingSpec) -> tuple[int, int]:
    """How many videos have vectors of a spec, and super images."""
    number = func.coalesce(func.sum(schema.vectors.c.super_images), 0)
    query = select(func.count(), number).where(of_specs(schema.vectors, [spec]))
    videos, super_images = connection.execute(query).one()
    return int(videos), int(super_images)


def _files(connection: Connection, *matches: ColumnElement[bool]) -> list[VectorFile]:
    rows = connection.execute(select(schema.vectors).where(*matches))
    return [VectorFile(**row._mapping) for row in rows]
