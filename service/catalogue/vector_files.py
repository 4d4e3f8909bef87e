"""Vector files: which immutable file holds a video's embeddings of which spec."""

import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from errno import EACCES, EIO, EMFILE, ENFILE, ENOMEM, ENOTCONN, EPERM, ESTALE, ETIMEDOUT

import structlog
from sqlalchemy import ColumnElement, Connection, and_, delete, func, insert, select

from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec
from qasir.vectors import VideoVectors, read_vectors
from service.catalogue import backfills, jobs, schema
from service.catalogue.db import Repository
from service.catalogue.schema import of_specs, record_change, spec_key

# A process that may open no file now, or a share that is away, says nothing of the file.
TEMPORARY_ERRORS = (EACCES, EPERM, EMFILE, ENFILE, ENOMEM, ESTALE, ETIMEDOUT, ENOTCONN)
# A share that is away may give EIO for a while; a broken disk gives it for longer.
EIO_PATIENCE_SECONDS = 3600.0

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

    @classmethod
    def of(cls, path: str, vectors: VideoVectors) -> "VectorFile":
        """Describe the vector file `<video>/<name>` that holds these vectors."""
        return cls(
            video_id=path.split("/")[0],
            **dict(vectors.spec),
            path=path,
            frames=int(vectors.mask.sum()),
            super_images=len(vectors.super_images),
            seconds=float(vectors.cell_times.max()),
        )

    @property
    def spec(self) -> EmbeddingSpec:
        """Return what its vectors were made with."""
        return EmbeddingSpec(
            fingerprint=self.fingerprint,
            grid_size=self.grid_size,
            resolution=self.resolution,
            fps=self.fps,
        )


@dataclass
class VectorFiles(Repository):
    """The vector files of one catalogue."""

    # When reading a path first gave EIO, in seconds since 1970.
    _io_errors: dict[str, float] = field(default_factory=dict)

    def all(self) -> list[VectorFile]:
        with self.database.reading() as connection:
            return every(connection)

    def of_video(self, video_id: str) -> list[VectorFile]:
        with self.database.reading() as connection:
            return _files(connection, schema.vectors.c.video_id == video_id)

    def paths(self, spec: EmbeddingSpec) -> dict[str, str]:
        """Return the paths of all files of a spec by video id."""
        query = select(schema.vectors.c.video_id, schema.vectors.c.path)
        with self.database.reading() as connection:
            rows = connection.execute(query.where(of_specs(schema.vectors, [spec])))
            return {row.video_id: row.path for row in rows}

    def of_spec(self, spec: EmbeddingSpec, video_ids: Sequence[str]) -> dict[str, VectorFile]:
        """Return the vector files of one spec by video id, of those videos that have one."""
        with self.database.reading() as connection:
            return {file.video_id: file for file in with_spec(connection, spec, video_ids)}

    def looks_whole(self, file: VectorFile) -> bool:
        """Return whether a file exists and ends as an archive does; far cheaper than reading it."""
        return zipfile.is_zipfile(self.database.folders.vectors / file.path)

    def inaccessible(self) -> list[VectorFile]:
        """List files that a process could not open, although nothing says that they are damaged."""
        change = schema.changes.c
        marks = select(change.video_id, change.spec).where(change.kind == "inaccessible")
        ids = marks.with_only_columns(change.video_id)
        with self.database.reading() as connection:
            marked = {(row.video_id, row.spec) for row in connection.execute(marks)}
            files = _files(connection, schema.vectors.c.video_id.in_(ids))
        return [file for file in files if (file.video_id, spec_key(file.spec)) in marked]

    def report_unreadable(self, path: str, *, searched: bool = True) -> bool:
        """Look at a file that a process could not read; whether its row was dropped.

        A file that is missing or damaged loses its row. One that cannot be opened now is marked
        as inaccessible, to be looked at again. One that is whole is read again by every process
        that lacks it.

        searched: searches use this spec, so the video is not ready until it is ingested again from
        its media. Other vectors are found missing, and filled in, by the worker.
        """
        with self.database.reading() as connection:
            files = _files(connection, schema.vectors.c.path == path)
        if not files:
            return False
        (file,) = files
        error = self._check(file)
        is_temporary = error is not None and self._is_temporary(path, error)
        with self.database.writing() as connection:
            if error is None or is_temporary:
                _mark(connection, file, inaccessible=is_temporary)
                return False
            if not self._drop(connection, file, searched=searched):
                return False
        log.error(
            "vectors are unreadable",
            video_id=file.video_id,
            detail=str(error),
            remedy="the video is encoded again from its media",
        )
        return True

    def _check(self, file: VectorFile) -> CorruptArtifact | None:
        path = self.database.folders.vectors / file.path
        try:
            spec = read_vectors(path).spec
        except CorruptArtifact as error:
            return error
        if spec == file.spec:
            return None
        return CorruptArtifact(f"{path} has vectors of {spec}, not of {file.spec}")

    def _is_temporary(self, path: str, error: CorruptArtifact) -> bool:
        """Return whether the file could not be opened, which says nothing of what it holds."""
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, OSError):
            cause = cause.__cause__ or cause.__context__
        if cause is None or cause.errno != EIO:
            return cause is not None and cause.errno in TEMPORARY_ERRORS
        first = self._io_errors.setdefault(path, self.clock())
        return self.clock() - first < EIO_PATIENCE_SECONDS

    def _drop(self, connection: Connection, file: VectorFile, *, searched: bool) -> bool:
        same = schema.vectors.c.path == file.path
        if connection.execute(delete(schema.vectors).where(same)).rowcount == 0:
            # Another process was faster, or the video was deleted meanwhile.
            return False
        record_change(connection, "unreadable", file.video_id, file.spec)
        state = select(schema.videos.c.state).where(schema.videos.c.id == file.video_id)
        if searched and connection.execute(state).scalar_one() == "ready":
            jobs.set_video_state(connection, file.video_id, "queued")
            jobs.add(connection, file.video_id, self.clock())
        return True

    def remove(self, fingerprint: str, keep: Sequence[EmbeddingSpec]) -> list[VectorFile]:
        """Remove a model's rows, except those of the specs `keep`; return the files they named."""
        with self.database.writing() as connection:
            vectors, specs = (
                and_(table.c.fingerprint == fingerprint, ~of_specs(table, keep))
                for table in (schema.vectors, schema.job_specs)
            )
            files = _files(connection, vectors)
            connection.execute(delete(schema.vectors).where(vectors))
            backfills.forget(connection, specs)
            return files


def _mark(connection: Connection, file: VectorFile, *, inaccessible: bool) -> None:
    """Mark a file as inaccessible, once, or remove the mark so that every process reads it."""
    change, key = schema.changes.c, spec_key(file.spec)
    marks = (change.video_id == file.video_id) & (change.spec == key)
    marks &= change.kind == "inaccessible"
    if inaccessible:
        if connection.execute(select(change.number).where(marks).limit(1)).first() is None:
            record_change(connection, "inaccessible", file.video_id, file.spec)
            log.warning("vectors are inaccessible", video_id=file.video_id, path=file.path)
        return
    connection.execute(delete(schema.changes).where(marks))
    record_change(connection, "backfilled", file.video_id, file.spec)


def add(connection: Connection, file: VectorFile) -> None:
    """Name a vector file; one that it replaces becomes an orphan for the next sweep."""
    replaced = of_specs(schema.vectors, [file.spec])
    connection.execute(
        delete(schema.vectors).where(schema.vectors.c.video_id == file.video_id, replaced)
    )
    connection.execute(insert(schema.vectors).values(**asdict(file)))


def every(connection: Connection) -> list[VectorFile]:
    return _files(connection)


def with_spec(
    connection: Connection, spec: EmbeddingSpec, video_ids: Sequence[str] | None = None
) -> list[VectorFile]:
    """Read the vector files of this spec: all of them, or those of the given videos."""
    matches = of_specs(schema.vectors, [spec])
    if video_ids is not None:
        matches = and_(matches, schema.vectors.c.video_id.in_(video_ids))
    return _files(connection, matches)


def count(connection: Connection, spec: EmbeddingSpec) -> tuple[int, int]:
    """Count the videos that have vectors of a spec, and their super images."""
    number = func.coalesce(func.sum(schema.vectors.c.super_images), 0)
    query = select(func.count(), number).where(of_specs(schema.vectors, [spec]))
    videos, super_images = connection.execute(query).one()
    return int(videos), int(super_images)


def _files(connection: Connection, *matches: ColumnElement[bool]) -> list[VectorFile]:
    rows = connection.execute(select(schema.vectors).where(*matches))
    return [VectorFile(**row._mapping) for row in rows]
