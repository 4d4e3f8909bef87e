"""Vector files: which immutable file holds a video's embeddings of which spec."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import (
    ColumnElement,
    Connection,
    Table,
    and_,
    delete,
    false,
    func,
    insert,
    or_,
    select,
)

from qasir.manifest import EmbeddingSpec
from service.catalogue import schema
from service.catalogue.db import Database


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

    def __init__(self, database: Database) -> None:
        self._database = database

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

    def remove(self, fingerprint: str, keep: Sequence[EmbeddingSpec]) -> list[VectorFile]:
        """Remove the rows of a model's vectors, but those of `keep`; the files they named."""
        with self._database.writing() as connection:
            gone = [
                and_(table.c.fingerprint == fingerprint, ~of_specs(table, keep))
                for table in (schema.vectors, schema.encodings)
            ]
            files = _files(connection, gone[0])
            connection.execute(delete(schema.vectors).where(gone[0]))
            connection.execute(delete(schema.encodings).where(gone[1]))
            return files


def of_specs(table: Table, specs: Sequence[EmbeddingSpec]) -> ColumnElement[bool]:
    """The rows, of a table that has a spec's columns, of any of these specs."""
    equal = (and_(*(table.c[name] == value for name, value in spec)) for spec in specs)
    return or_(false(), *equal)


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
