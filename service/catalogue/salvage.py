"""What a repair saves before it begins: titles of a damaged catalogue, and orphans."""

import json
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import structlog

from service.catalogue import sidecars
from service.folders import StateFolders

log = structlog.get_logger()


def version(path: Path) -> int:
    """The schema version that a catalogue's header names."""
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def set_aside(folders: StateFolders) -> Path:
    """Save titles of a catalogue that cannot be used, and move it out of the way; its new place."""
    saved = sum(_save_titles(folders))
    now = datetime.now(UTC)
    place = folders.orphans / f"{now:%Y-%m-%d}" / f"catalogue-{now:%H%M%S%f}"
    place.mkdir(parents=True)
    # Its journal belongs to it, and would be replayed over the new one.
    for path in folders.root.glob(f"{folders.catalogue.name}*"):
        path.rename(place / path.name)
    log.warning("catalogue set aside", folder=str(place), titles_saved=saved)
    return place


def bring_back(folders: StateFolders, deleted: set[str]) -> set[str]:
    """Move orphans back to where they lay; ids of those left alone, because a user deleted them."""
    skipped = set()
    batches = sorted(folders.orphans.glob("*"), reverse=True)
    for place in (folders.media, folders.vectors):
        for batch in batches:
            for orphan in sorted((batch / place.name).glob("*")):
                if orphan.name in deleted:
                    skipped.add(orphan.name)
                elif _has_original(folders.media / orphan.name, batch / "media" / orphan.name):
                    _merge(orphan, place / orphan.name)
    return skipped


def _save_titles(folders: StateFolders) -> Iterator[bool]:
    """Write the sidecars that are missing from what can still be read of the rows."""
    uri = f"{folders.catalogue.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            for row in connection.execute("SELECT * FROM videos"):
                columns = row.keys()
                created_at = row["created_at" if "created_at" in columns else "created"]
                sidecar = sidecars.Sidecar(
                    title=row["title"],
                    metadata=json.loads(row["metadata"]),
                    created_at=created_at,
                )
                folder = folders.media / row["id"]
                yield sidecars.read(folder) is None and sidecars.write(folder, sidecar)
    except (sqlite3.Error, ValueError, IndexError) as error:
        log.warning("titles cannot be read further", detail=str(error))


def _has_original(*folders: Path) -> bool:
    return any((folder / "original").is_file() for folder in folders)


def _merge(orphan: Path, place: Path) -> None:
    """Move what has no successor at its place."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(orphan, place)
    elif orphan.is_dir() and place.is_dir():
        for child in sorted(orphan.iterdir()):
            _merge(child, place / child.name)
