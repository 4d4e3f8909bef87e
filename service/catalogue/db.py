"""Opens the catalogue, and runs its two kinds of transaction.

SQLite in WAL mode: readers never wait. Every write transaction says BEGIN IMMEDIATE, so that it
waits for its turn at the start and never fails half-way with a stale snapshot, as a read that
turns into a write would.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event, insert, inspect, text

from qasir.errors import InvalidConfig
from qasir.manifest import EmbeddingSpec
from service.catalogue import integrity, schema
from service.folders import StateFolders
from service.lock import SharedLock, locked

BUSY_MILLISECONDS = 15_000
# Held shared by every process that has the catalogue open, exclusively by a repair.
LOCK_NAME = "catalogue.lock"


class Database:
    """One SQLite file; safe to share by threads."""

    def __init__(self, path: Path, *, repairing: bool = False) -> None:
        """Open the catalogue, and create it where the state folder is new.

        `repairing`: for a repair, which holds the lock alone and fills an empty catalogue.

        Raises:
            CorruptArtifact: it is damaged, or missing or empty beside media or vectors.
            InvalidConfig: another version of this schema wrote it.
            Conflict: it is being repaired.
        """
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = StateFolders(path.parent).run / LOCK_NAME
        self._in_use = None if repairing else SharedLock(lock, "a repair")
        timeout = {"timeout": BUSY_MILLISECONDS / 1000}
        self._engine = create_engine(f"sqlite:///{path}", connect_args=timeout)
        event.listen(self._engine, "connect", _configure)
        event.listen(self._engine, "begin", _begin)
        try:
            self._open(repairing)
        except BaseException:
            self.close()
            raise

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """One snapshot: everything read inside belongs to the same moment."""
        with self._connection() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """All or nothing, and alone."""
        with self._connection() as connection:
            connection = connection.execution_options(qasir_writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        """Release the file handles."""
        self._engine.dispose()
        if self._in_use is not None:
            self._in_use.close()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with integrity.damage_is_typed(self._path), self._engine.connect() as connection:
            yield connection

    def _open(self, repairing: bool) -> None:
        # Two processes that both switch a new file to WAL can lock each other out.
        with locked(self._path.with_name(f"{self._path.name}.lock")):
            if not repairing:
                integrity.refuse_missing(self._path)
            with self.writing() as connection:
                version = connection.execute(text("PRAGMA user_version")).scalar_one()
                if version == 0 and not inspect(connection).get_table_names():
                    schema.tables.create_all(connection)
                    connection.execute(text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
                elif version == 0:
                    raise integrity.damaged(self._path, "tables of version 0")
                elif version != schema.SCHEMA_VERSION:
                    raise _other_version(self._path, version)
                integrity.refuse_damaged(connection, self._path)
                if not repairing:
                    integrity.refuse_empty(connection, self._path)


def record_change(
    connection: Connection,
    kind: schema.ChangeKind,
    video_id: str,
    spec: EmbeddingSpec | None = None,
) -> None:
    """Record that answers about a video may differ; `spec`: only those from this index."""
    key = None if spec is None else spec_key(spec)
    row = {"kind": kind, "video_id": video_id, "spec": key}
    connection.execute(insert(schema.changes).values(**row))


def spec_key(spec: EmbeddingSpec) -> str:
    """A spec as one word, for columns that hold a spec or none."""
    return "-".join(str(value) for _, value in spec)


def _other_version(path: Path, version: int) -> InvalidConfig:
    return InvalidConfig(
        f"{path} has catalogue version {version}, this program reads {schema.SCHEMA_VERSION}; "
        f"run the program that wrote it, set QASIR_STATE to a new folder, or, where it is older, "
        f"run `qasir repair` to rebuild it from media and vectors"
    )


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
