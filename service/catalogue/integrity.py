"""Refuses to open a catalogue that is missing, empty or damaged beside the files it describes.

A catalogue that knows no video is no reason to remove one: it may be the result of a failed
restore, a wrong mount or a backup of the wrong file. So nothing starts on it, and the error
names what was found and the command that rebuilds it.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError
from pathlib import Path

from sqlalchemy import Connection, inspect, select, text
from sqlalchemy.exc import DBAPIError

from qasir.errors import CorruptArtifact
from service.catalogue import schema, sidecars
from service.folders import StateFolders

DAMAGE_CODES = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# What SQLite says without a code of its own where a page was overwritten.
DAMAGE_WORDS = ("no such table", "no such column", "decode to UTF-8")
REMEDY = "restore it from a backup, or run `qasir repair` to rebuild it from media and vectors"


def refuse_missing(path: Path) -> None:
    """Check that a catalogue may be created here.

    Raises:
        CorruptArtifact: the file is missing or has no bytes, but media or vectors exist.
    """
    if path.is_file() and path.stat().st_size > 0:
        return
    folders = StateFolders(path.parent)
    videos = _ids(folders.media, "*/original") | _ids(folders.vectors, "*/*.npz")
    if videos:
        found = "has 0 bytes" if path.exists() else "is missing"
        raise _without_catalogue(path, found, folders, videos)


def refuse_damaged(connection: Connection, path: Path) -> None:
    """Check a catalogue that has been written before.

    Raises:
        CorruptArtifact: SQLite finds damage, or a table is missing.
    """
    report = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
    missing = schema.tables.tables.keys() - set(inspect(connection).get_table_names())
    if report != "ok" or missing:
        reason = f"no table '{min(missing)}'" if missing else str(report)
        raise damaged(path, reason)


def refuse_empty(connection: Connection, path: Path) -> None:
    """Check, inside a write transaction, that a catalogue without videos is right to have none.

    A crash may leave one file without a row: an upload that was never acknowledged has no
    sidecar yet, and a video whose delete was interrupted is named by a change.

    Raises:
        CorruptArtifact: there are files of videos that were acknowledged and never deleted.
    """
    if connection.execute(select(schema.videos.c.id).limit(1)).first() is not None:
        return
    folders = StateFolders(path.parent)
    acknowledged = _ids(folders.media, f"*/{sidecars.NAME}") | _ids(folders.vectors, "*/*.npz")
    changes = schema.changes.c
    deleted = select(changes.video_id).where(changes.kind == "deleted")
    lost = acknowledged - set(connection.execute(deleted).scalars())
    if lost:
        raise _without_catalogue(path, "knows no video", folders, lost)


@contextmanager
def damage_is_typed(path: Path) -> Iterator[None]:
    """Raise CorruptArtifact where SQLite finds the file damaged."""
    try:
        yield
    except JSONDecodeError as error:
        raise damaged(path, f"metadata is not JSON: {error}") from error
    except (sqlite3.DatabaseError, DBAPIError) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if _is_damage(cause):
            raise damaged(path, str(cause)) from error
        raise


def _is_damage(error: BaseException | None) -> bool:
    if not isinstance(error, sqlite3.DatabaseError):
        return False
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    return code in DAMAGE_CODES or any(words in str(error) for words in DAMAGE_WORDS)


def damaged(path: Path, reason: str) -> CorruptArtifact:
    """The error of a catalogue that cannot be read."""
    return CorruptArtifact(f"catalogue {path} is damaged ({' '.join(reason.split())}); {REMEDY}")


def _without_catalogue(
    path: Path, found: str, folders: StateFolders, videos: set[str]
) -> CorruptArtifact:
    media = len(_ids(folders.media, "*/original"))
    vectors = len(_ids(folders.vectors, "*/*.npz"))
    return CorruptArtifact(
        f"catalogue {path} {found}, but {folders.root} has media of {media} videos and vectors "
        f"of {vectors}, for example '{min(videos)}'; nothing was changed. Check QASIR_STATE and "
        f"its mounts, {REMEDY}"
    )


def _ids(folder: Path, pattern: str) -> set[str]:
    return {path.parent.name for path in folder.glob(pattern)}
