"""Changes: what a searcher reads to be as of now, and no more than that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from qasir.manifest import EmbeddingSpec
from service.catalogue import schema, vector_files, videos
from service.catalogue.db import Database, spec_key
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video

# Above this many changed videos, reading all rows is cheaper than naming each.
RELOAD_ABOVE = 2000


@dataclass(frozen=True)
class ChangeSet:
    """What a searcher must do to be as of change `number`.

    `relevant` is the newest change that may concern the spec, the same for every searcher;
    `files` are to be loaded, with the `videos` they are of, by id; `gone` are ids to be dropped.
    `complete`: `files` are all there are, anything else loaded is to be dropped too.
    """

    number: int
    relevant: int
    files: Sequence[VectorFile]
    videos: Mapping[str, Video]
    gone: frozenset[str]
    complete: bool


class Changes:
    """The numbered changes of one catalogue."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def number(self) -> int:
        """The number of the newest change; 0 where nothing ever happened."""
        with self._database.reading() as connection:
            return newest(connection)

    def since(self, spec: EmbeddingSpec, number: int | None) -> ChangeSet:
        """What happened to the videos of one spec after change `number`; None: everything."""
        with self._database.reading() as connection:
            return _since(connection, spec, number)


def newest(connection: Connection, spec: EmbeddingSpec | None = None) -> int:
    """The newest change; given a spec, the newest that is not another index's alone."""
    number, of = schema.changes.c.number, schema.changes.c.spec
    query = select(number).order_by(number.desc()).limit(1)
    if spec is not None:
        query = query.where(of.is_(None) | (of == spec_key(spec)))
    return connection.execute(query).scalar_one_or_none() or 0


def count(connection: Connection, kind: schema.ChangeKind) -> int:
    """How many changes of a kind there have been."""
    query = select(func.count()).select_from(schema.changes).where(schema.changes.c.kind == kind)
    return connection.execute(query).scalar_one()


def _since(connection: Connection, spec: EmbeddingSpec, number: int | None) -> ChangeSet:
    last, relevant = newest(connection), newest(connection, spec)
    touched = _touched(connection, number)
    if touched is None:
        files = vector_files.with_spec(connection, spec)
        indexed = videos.indexed_with(connection, spec)
        return ChangeSet(last, relevant, files, indexed, frozenset(), complete=True)
    files = vector_files.with_spec(connection, spec, sorted(touched))
    indexed = videos.among(connection, [file.video_id for file in files])
    gone = frozenset(touched - indexed.keys())
    return ChangeSet(last, relevant, files, indexed, gone, complete=False)


def _touched(connection: Connection, number: int | None) -> set[str] | None:
    if number is None:
        return None
    later = select(schema.changes.c.video_id).distinct().where(schema.changes.c.number > number)
    ids = set(connection.execute(later.limit(RELOAD_ABOVE + 1)).scalars())
    return ids if len(ids) <= RELOAD_ABOVE else None
