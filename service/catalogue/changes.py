"""Rows of changes: what a searcher reads to be as of now, and no more than that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, insert, select

from qasir.manifest import EmbeddingSpec
from service.catalogue import schema, videos
from service.catalogue.videos import VectorFile, Video

Kind = Literal["indexed", "built", "edited", "deleted"]

# Above this many changed videos, reading all rows is cheaper than naming each.
RELOAD_ABOVE = 2000


@dataclass(frozen=True)
class Changes:
    """What a searcher must do to be as of change `number`.

    `relevant` is the newest change that may concern the spec, the same for every searcher;
    `files` are to be held, with the `videos` they are of, by id; `gone` are ids to be dropped.
    `complete`: `files` are all there are, anything else held is to be dropped too.
    """

    number: int
    relevant: int
    files: Sequence[VectorFile]
    videos: Mapping[str, Video]
    gone: frozenset[str]
    complete: bool


def add(
    connection: Connection, kind: Kind, video_id: str, spec: EmbeddingSpec | None = None
) -> None:
    """Write a change; `spec`: only answers from this index may be others now."""
    key = None if spec is None else _key(spec)
    row = {"kind": kind, "video_id": video_id, "spec": key}
    connection.execute(insert(schema.changes).values(**row))


def newest(connection: Connection, spec: EmbeddingSpec | None = None) -> int:
    """The newest change; given a spec, the newest that is not another index's alone."""
    number, of = schema.changes.c.number, schema.changes.c.spec
    query = select(number).order_by(number.desc()).limit(1)
    if spec is not None:
        query = query.where(of.is_(None) | (of == _key(spec)))
    return connection.execute(query).scalar_one_or_none() or 0


def since(connection: Connection, spec: EmbeddingSpec, number: int | None) -> Changes:
    """What happened to the videos of one spec after change `number`; None: everything."""
    last, relevant = newest(connection), newest(connection, spec)
    touched = _touched(connection, number)
    if touched is None:
        every = videos.vectors_with(connection, spec)
        known = videos.indexed_with(connection, spec)
        return Changes(last, relevant, every, known, frozenset(), complete=True)
    files = videos.vectors_with(connection, spec, sorted(touched))
    known = videos.among(connection, [file.video_id for file in files])
    gone = touched - known.keys()
    return Changes(last, relevant, files, known, frozenset(gone), complete=False)


def _key(spec: EmbeddingSpec) -> str:
    return "-".join(str(value) for _, value in spec)


def _touched(connection: Connection, number: int | None) -> set[str] | None:
    if number is None:
        return None
    later = select(schema.changes.c.video_id).distinct().where(schema.changes.c.number > number)
    ids = set(connection.execute(later.limit(RELOAD_ABOVE + 1)).scalars())
    return ids if len(ids) <= RELOAD_ABOVE else None
