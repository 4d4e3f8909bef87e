"""The catalogue's tables, and the conditions and rows that several repositories share."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    false,
    insert,
    or_,
    select,
)

from qasir.manifest import EmbeddingSpec

SCHEMA_VERSION = 3

# inaccessible: a process cannot open a vector file now, which says nothing of the file.
ChangeKind = Literal["indexed", "backfilled", "edited", "unreadable", "inaccessible", "deleted"]

tables = MetaData()

videos = Table(
    "videos",
    tables,
    Column("id", String, primary_key=True),
    Column("title", String, nullable=False),
    Column("metadata", JSON, nullable=False),
    Column("sha256", String, nullable=False),
    Column("bytes", Integer, nullable=False),
    Column("duration", Float, nullable=False, default=0.0),
    Column("indexed_seconds", Float, nullable=False, default=0.0),
    Column("width", Integer, nullable=False, default=0),
    Column("height", Integer, nullable=False, default=0),
    Column("codec", String, nullable=False, default=""),
    Column("container", String, nullable=False, default=""),
    Column("state", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Index("videos_by_time", "created_at", "id"),
)


def _video_id(**options: Any) -> Column[str]:
    return Column(
        "video_id", String, ForeignKey("videos.id", ondelete="CASCADE"), nullable=False, **options
    )


def _spec_columns() -> list[Column[Any]]:
    """Return the fields of an EmbeddingSpec as a part of the primary key."""
    types = {"fingerprint": String, "grid_size": Integer, "resolution": Integer, "fps": Float}
    return [Column(name, kind, primary_key=True) for name, kind in types.items()]


jobs = Table(
    "jobs",
    tables,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, unique=True),
    Column("kind", String, nullable=False),
    _video_id(index=True),
    Column("state", String, nullable=False, index=True),
    Column("stage", String),
    Column("progress", Float, nullable=False, default=0.0),
    Column("eta_seconds", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("owner", String),
    Column("heartbeat_at", Float),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("error_code", String),
    Column("error_detail", String),
    Column("error_retryable", Boolean),
    Column("traceparent", String),
    Column("requested_at", Float),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("finished_at", Float),
    sqlite_autoincrement=True,
)

vectors = Table(
    "vectors",
    tables,
    _video_id(primary_key=True),
    *_spec_columns(),
    Column("path", String, nullable=False),
    Column("frames", Integer, nullable=False),
    Column("super_images", Integer, nullable=False),
    Column("seconds", Float, nullable=False),
)

# What a backfill job encodes; an ingest encodes what the active model needs when it runs.
job_specs = Table(
    "job_specs",
    tables,
    Column("number", Integer, ForeignKey("jobs.number", ondelete="CASCADE"), primary_key=True),
    *_spec_columns(),
)

# A change outlives its video, so no foreign key; AUTOINCREMENT never gives a number twice.
# `spec`: whose vectors alone have changed; null where all of a video's have.
changes = Table(
    "changes",
    tables,
    Column("number", Integer, primary_key=True, autoincrement=True),
    Column("kind", String, nullable=False),
    Column("video_id", String, nullable=False),
    Column("spec", String),
    sqlite_autoincrement=True,
)


def of_specs(table: Table, specs: Sequence[EmbeddingSpec]) -> ColumnElement[bool]:
    """Select the rows of any of these specs, in a table that has a spec's columns."""
    equal = (and_(*(table.c[name] == value for name, value in spec)) for spec in specs)
    return or_(false(), *equal)


def specs_where(
    connection: Connection, table: Table, matches: ColumnElement[bool]
) -> set[EmbeddingSpec]:
    """Read the specs of the rows that match, in a table that has a spec's columns."""
    columns = [table.c[name] for name in EmbeddingSpec.model_fields]
    rows = connection.execute(select(*columns).where(matches))
    return {EmbeddingSpec(**row._mapping) for row in rows}


def spec_key(spec: EmbeddingSpec) -> str:
    """Write a spec as one word, for a column that holds a spec or none."""
    return "-".join(str(value) for _, value in spec)


def record_change(
    connection: Connection, kind: ChangeKind, video_id: str, spec: EmbeddingSpec | None = None
) -> None:
    """Record that answers about a video may differ; `spec`: only those from this index."""
    key = None if spec is None else spec_key(spec)
    row = {"kind": kind, "video_id": video_id, "spec": key}
    connection.execute(insert(changes).values(**row))


def newest_change(connection: Connection, spec: EmbeddingSpec | None = None) -> int:
    """Read the newest change, 0 where there is none; `spec`: the newest that may concern it."""
    query = select(changes.c.number).order_by(changes.c.number.desc()).limit(1)
    if spec is not None:
        query = query.where(changes.c.spec.is_(None) | (changes.c.spec == spec_key(spec)))
    return connection.execute(query).scalar_one_or_none() or 0
