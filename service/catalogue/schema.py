"""The catalogue's tables, and its two kinds of transaction.

SQLite in WAL mode: readers never wait. Every write transaction says BEGIN IMMEDIATE,
so that it waits for its turn at the start and never fails half-way with a stale
snapshot, as a read that turns into a write would.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Connection,
    Engine,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    create_engine,
    event,
    text,
)

from qasir.errors import InvalidConfig
from service.lock import locked

SCHEMA_VERSION = 2
BUSY_MILLISECONDS = 15_000

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
    Column("created", Float, nullable=False),
    Index("videos_by_time", "created", "id"),
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
    _video_id(index=True),
    Column("state", String, nullable=False, index=True),
    Column("stage", String),
    Column("progress", Float, nullable=False, default=0.0),
    Column("eta_seconds", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("owner", String),
    Column("heartbeat", Float),
    Column("not_before", Float, nullable=False, default=0.0),
    Column("error_code", String),
    Column("error_detail", String),
    Column("error_retryable", Boolean),
    Column("traceparent", String),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("finished", Float),
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

# What is, or was, to be encoded outside an ingest. Nobody writes here that a generation lacks a
# video: that follows from `vectors`. Rows say what does not follow: attempts, errors, requests.
encodings = Table(
    "encodings",
    tables,
    _video_id(primary_key=True),
    Column("fingerprint", String, primary_key=True),
    Column("grid_size", Integer, primary_key=True),
    Column("resolution", Integer, primary_key=True),
    Column("fps", Float, primary_key=True),
    Column("requested", Float),
    Column("attempts", Integer, nullable=False, default=0),
    Column("error_code", String),
    Column("error_detail", String),
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


def open_engine(path: Path) -> Engine:
    """Open the catalogue and create it where it is not there yet.

    Raises:
        InvalidConfig: the file was written by another version of this schema.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": BUSY_MILLISECONDS / 1000})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    # Two processes that both switch a new file to WAL can lock each other out.
    with locked(path.with_name(f"{path.name}.lock")), writing(engine) as connection:
        _create(connection, path)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """One snapshot: everything read inside belongs to the same moment."""
    with engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """All or nothing, and alone."""
    with engine.connect() as connection:
        connection = connection.execution_options(qasir_writes=True)
        with connection.begin():
            yield connection


def _create(connection: Connection, path: Path) -> None:
    version = connection.execute(text("PRAGMA user_version")).scalar_one()
    if version not in (0, SCHEMA_VERSION):
        raise InvalidConfig(
            f"{path} has catalogue version {version}, this program reads {SCHEMA_VERSION}; "
            f"run the program that wrote it, or set QASIR_STATE to a new folder"
        )
    tables.create_all(connection)
    connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))


def _configure(connection: Any, _record: Any) -> None:
    # The driver's own implicit BEGIN is deferred and knows no IMMEDIATE: switch it off.
    connection.isolation_level = None
    for pragma in (
        f"busy_timeout = {BUSY_MILLISECONDS}",
        "journal_mode = WAL",
        "synchronous = FULL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("qasir_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
