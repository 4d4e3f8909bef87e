"""The catalogue's tables."""

from collections.abc import Sequence
from typing import Any, Literal

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    and_,
    false,
    or_,
)

from qasir.manifest import EmbeddingSpec

SCHEMA_VERSION = 3

ChangeKind = Literal["indexed", "backfilled", "edited", "unreadable", "deleted"]

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
    Column("fingerprint", String, primary_key=True),
    Column("grid_size", Integer, primary_key=True),
    Column("resolution", Integer, primary_key=True),
    Column("fps", Float, primary_key=True),
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
    Column("fingerprint", String, primary_key=True),
    Column("grid_size", Integer, primary_key=True),
    Column("resolution", Integer, primary_key=True),
    Column("fps", Float, primary_key=True),
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
    """The rows, of a table that has a spec's columns, of any of these specs."""
    equal = (and_(*(table.c[name] == value for name, value in spec)) for spec in specs)
    return or_(false(), *equal)
