"""Rows of changes: what a searcher reads to be as of now, and no more than that."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sqlalchemy import Connection, insert, select

from qasir.manifest import Passport
from service.store import schema, videos
from service.store.videos import VectorFile, Video

Kind = Literal["indexed", "built", "deleted"]

# Above this many changed videos, reading all rows is cheaper than naming each.
RELOAD_ABOVE = 2000


@dataclass(frozen=True)
class Changes:
    """What a searcher must do to be as of change `number`.

    `relevant` is the newest change that may concern the passport, the same for every searcher;
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
    connection: Connection, kind: Kind, video_id: str, passport: Passport | None = None
) -> None:
    """Write a change; `passport`: only answers from this index may be others now."""
    key = None if passport is None else _key(passport)
    row = {"kind": kind, "video_id": video_id, "passport": key}
    connection.execute(insert(schema.changes).values(**row))


def newest(connection: Connection, passport: Passport | None = None) -> int:
    """The newest change; given a passport, the newest that is not another index's alone."""
    number, of = schema.changes.c.number, schema.changes.c.passport
    query = select(number).order_by(number.desc()).limit(1)
    if passport is not None:
        query = query.where(of.is_(None) | (of == _key(passport)))
    return connection.execute(query).scalar_one_or_none() or 0


def since(connection: Connection, passport: Passport, number: int | None) -> Changes:
    """What happened to the videos of one passport after change `number`; None: everything."""
    last, relevant = newest(connection), newest(connection, passport)
    touched = _touched(connection, number)
    if touched is None:
        every = videos.vectors_with(connection, passport)
        known = videos.indexed_with(connection, passport)
        return Changes(last, relevant, every, known, frozenset(), complete=True)
    files = videos.vectors_with(connection, passport, sorted(touched))
    known = videos.among(connection, [file.video_id for file in files])
    gone = touched - known.keys()
    return Changes(last, relevant, files, known, frozenset(gone), complete=False)


def _key(passport: Passport) -> str:
    return "-".join(str(value) for _, value in passport)


def _touched(connection: Connection, number: int | None) -> set[str] | None:
    if number is None:
        return None
    later = select(schema.changes.c.video_id).distinct().where(schema.changes.c.number > number)
    ids = set(connection.execute(later.limit(RELOAD_ABOVE + 1)).scalars())
    return ids if len(ids) <= RELOAD_ABOVE else None
