"""Opens the catalogue unless it is lost or damaged, and runs its two kinds of transaction.

SQLite in WAL mode: readers never wait. Every write transaction says BEGIN IMMEDIATE, so it waits
for its turn at the start and never fails half-way with a stale snapshot, as a read that turns into
a write would.

A catalogue that knows no video is no reason to remove one: it may be the result of a failed
restore, a wrong mount or a backup of the wrong file. So nothing starts on it, and the error names
what was found and the command that rebuilds it.
"""

import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Generic, TypeVar

from sqlalchemy import Connection, create_engine, event, inspect, select, text
from sqlalchemy.exc import DBAPIError

from qasir.errors import CorruptArtifact, InvalidConfig
from service.catalogue import schema
from service.folders import StateFolders
from service.lock import SharedLock, locked

BUSY_MILLISECONDS = 15_000
# Held shared by every process that has the catalogue open, exclusively by a repair.
LOCK_NAME = "catalogue.lock"
# The copy of a video's title beside its bytes: it was acknowledged once.
SIDECAR_NAME = "video.json"
DAMAGE_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# What SQLite says without a code of its own where a page was overwritten.
DAMAGE_WORDS = ("no such table", "no such column", "decode to UTF-8")
REMEDY = "restore it from a backup, or run `qasir repair` to rebuild it from media and vectors"

T = TypeVar("T")
K = TypeVar("K")


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
        self.folders = StateFolders(path.parent)
        lock = self.folders.run / LOCK_NAME
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
        """Open a read transaction: everything read inside belongs to the same moment."""
        with self._typed_damage(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Open a write transaction: all or nothing, and one at a time."""
        with self._typed_damage(), self._engine.connect() as connection:
            connection = connection.execution_options(qasir_writes=True)
            with connection.begin():
                yield connection

    def close(self) -> None:
        self._engine.dispose()
        if self._in_use is not None:
            self._in_use.close()

    def _open(self, repairing: bool) -> None:
        # Two processes that both switch a new file to WAL can lock each other out.
        with locked(self._path.with_name(f"{self._path.name}.lock")):
            if not repairing:
                self._refuse_missing()
            with self.writing() as connection:
                version = connection.execute(text("PRAGMA user_version")).scalar_one()
                if version == 0 and not inspect(connection).get_table_names():
                    schema.tables.create_all(connection)
                    connection.execute(text(f"PRAGMA user_version = {schema.SCHEMA_VERSION}"))
                elif version == 0:
                    raise self._damaged("tables of version 0")
                elif version != schema.SCHEMA_VERSION:
                    raise InvalidConfig(
                        f"{self._path} has catalogue version {version}, this program reads "
                        f"{schema.SCHEMA_VERSION}; run the program that wrote it, set QASIR_STATE "
                        f"to a new folder, or, where it is older, run `qasir repair` to rebuild it "
                        f"from media and vectors"
                    )
                self._refuse_damaged(connection)
                if not repairing:
                    self._refuse_empty(connection)

    def _refuse_missing(self) -> None:
        """Raise CorruptArtifact where the file is missing or has no bytes beside other files."""
        if self._path.is_file() and self._path.stat().st_size > 0:
            return
        if lost := ids_in(self.folders.media, "original") | ids_in(self.folders.vectors, "*.npz"):
            raise self._lost("has 0 bytes" if self._path.exists() else "is missing", lost)

    def _refuse_damaged(self, connection: Connection) -> None:
        """Raise CorruptArtifact where SQLite finds damage, or a table is missing."""
        report = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
        missing = schema.tables.tables.keys() - set(inspect(connection).get_table_names())
        if report != "ok" or missing:
            raise self._damaged(f"no table '{min(missing)}'" if missing else str(report))

    def _refuse_empty(self, connection: Connection) -> None:
        """Raise CorruptArtifact where no video is known, but files of acknowledged ones exist.

        A crash may leave one file without a row: an upload that was never acknowledged has no
        sidecar yet, and a video whose delete was interrupted is named by a change.
        """
        if connection.execute(select(schema.videos.c.id).limit(1)).first() is not None:
            return
        media, vectors = self.folders.media, self.folders.vectors
        acknowledged = ids_in(media, SIDECAR_NAME) | ids_in(vectors, "*.npz")
        if lost := acknowledged - deleted_ids(connection):
            raise self._lost("knows no video", lost)

    @contextmanager
    def _typed_damage(self) -> Iterator[None]:
        """Raise CorruptArtifact where SQLite finds the file damaged."""
        try:
            yield
        except JSONDecodeError as error:
            raise self._damaged(f"metadata is not JSON: {error}") from error
        except (sqlite3.DatabaseError, DBAPIError) as error:
            cause = error.orig if isinstance(error, DBAPIError) else error
            code = getattr(cause, "sqlite_errorcode", 0) & 0xFF
            if code in DAMAGE_CODES or any(words in str(cause) for words in DAMAGE_WORDS):
                raise self._damaged(str(cause)) from error
            raise

    def _damaged(self, reason: str) -> CorruptArtifact:
        reason = " ".join(reason.split())
        return CorruptArtifact(f"catalogue {self._path} is damaged ({reason}); {REMEDY}")

    def _lost(self, found: str, videos: set[str]) -> CorruptArtifact:
        media = len(ids_in(self.folders.media, "original"))
        vectors = len(ids_in(self.folders.vectors, "*.npz"))
        return CorruptArtifact(
            f"catalogue {self._path} {found}, but {self.folders.root} has media of {media} videos "
            f"and vectors of {vectors}, for example '{min(videos)}'; nothing was changed. Check "
            f"QASIR_STATE and its mounts, {REMEDY}"
        )


@dataclass
class Repository:
    """The queries about one kind of row; safe to share by threads and processes.

    clock: seconds since 1970.
    """

    database: Database
    clock: Callable[[], float] = time.time


@dataclass(frozen=True)
class Page(Generic[T, K]):
    """Rows of a list, and the key after which the next page begins; None: there is no next.

    A page begins after a key, so inserts and deletes shift no later page.
    """

    rows: list[T]
    next_key: K | None

    @classmethod
    def cut(cls, rows: Sequence[T], limit: int, key: Callable[[T], K]) -> "Page[T, K]":
        """Take the first `limit` of `limit` + 1 rows; one too many means that a page follows."""
        page = list(rows[:limit])
        return cls(page, key(page[-1]) if len(rows) > limit else None)


def ids_in(folder: Path, name: str) -> set[str]:
    """List the ids of videos that have a file of this name, or pattern, in this folder."""
    return {path.parent.name for path in folder.glob(f"*/{name}")}


def deleted_ids(connection: Connection) -> set[str]:
    """Read the ids of videos that a user has deleted."""
    deleted = select(schema.changes.c.video_id).where(schema.changes.c.kind == "deleted")
    return set(connection.execute(deleted).scalars())


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
