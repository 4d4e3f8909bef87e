"""Rebuilds a catalogue from media and vector files, and brings orphans back.

    media/<id>/original     id, SHA-256 and bytes; codec and size by probing
    media/<id>/video.json   title, metadata, created_at
    vectors/<id>/*.npz      spec, frames and seconds

What is read is collected first and written in one transaction, so a repair that is interrupted is
begun again. Videos without readable vectors are queued for ingestion.
"""

import json
import shutil
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import get_context
from pathlib import Path

import structlog
from sqlalchemy import Connection, select, update

from qasir.artifacts import sha256_of
from qasir.errors import CorruptArtifact, InvalidConfig, QasirError
from qasir.types import VideoInfo
from qasir.vectors import read_vectors
from qasir.video import Limits, probe
from service.catalogue import jobs, schema, vector_files, videos
from service.catalogue.db import LOCK_NAME, Database, deleted_ids, ids_in
from service.catalogue.schema import record_change
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Sidecar, Video
from service.folders import StateFolders
from service.lock import only_one

# What was accepted once is described, whatever today's limits are.
NO_LIMITS = Limits(max_seconds=float("inf"), max_pixels=1 << 40)
UNKNOWN = VideoInfo(0.0, 0, 0, 0.0, codec="", container="", rotation=0)

# Called with how many of how many videos have been read, and the id of the next one.
ReportProgress = Callable[[int, int, str], None]

log = structlog.get_logger()


@dataclass
class RepairReport:
    """What a repair did.

    replaced: where a damaged catalogue lies now; ready, queued: ids of restored videos;
    renamed_vectors: vector files named again of videos that the catalogue knew; deleted: ids of
    orphans that a user had deleted, left alone; changed: ids whose bytes are not those uploaded;
    unreadable: vector files that cannot be read; without_media: ids that have vectors alone.
    """

    replaced: Path | None = None
    ready: list[str] = field(default_factory=list)
    queued: list[str] = field(default_factory=list)
    renamed_vectors: list[str] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)
    without_media: list[str] = field(default_factory=list)


def repair(
    folders: StateFolders, report_progress: ReportProgress = lambda *_: None
) -> RepairReport:
    """Make the catalogue name every video whose media exists.

    Raises:
        Conflict: the service, the worker or another repair runs.
        InvalidConfig: a newer version wrote the catalogue.
    """
    folders.create()
    with (
        only_one(folders.run / "worker.lock", "worker"),
        only_one(folders.run / LOCK_NAME, "service or command"),
    ):
        report = RepairReport()
        with closing(_open(folders, report)) as database:
            _Repair(database, report).run(report_progress)
    log.info("repaired", ready=len(report.ready), queued=len(report.queued))
    return report


def _open(folders: StateFolders, report: RepairReport) -> Database:
    """Open the catalogue, or a new one in place of one that cannot be used."""
    try:
        return Database(folders.catalogue, repairing=True)
    except InvalidConfig:
        with closing(sqlite3.connect(folders.catalogue)) as connection:
            if connection.execute("PRAGMA user_version").fetchone()[0] > schema.SCHEMA_VERSION:
                raise
    except CorruptArtifact as error:
        log.warning("catalogue is damaged", detail=str(error))
    saved = sum(_save_titles(folders))
    now = datetime.now(UTC)
    report.replaced = folders.orphans / f"{now:%Y-%m-%d}" / f"catalogue-{now:%H%M%S%f}"
    report.replaced.mkdir(parents=True)
    # Its journal belongs to it, and would be replayed over the new one.
    for path in folders.root.glob(f"{folders.catalogue.name}*"):
        path.rename(report.replaced / path.name)
    log.warning("catalogue set aside", folder=str(report.replaced), titles_saved=saved)
    return Database(folders.catalogue, repairing=True)


def _save_titles(folders: StateFolders) -> Iterator[bool]:
    """Write the sidecars that are missing from what can still be read of the rows."""
    uri = f"{folders.catalogue.as_uri()}?mode=ro"
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            for row in connection.execute("SELECT * FROM videos"):
                columns = row.keys()
                created_at = row["created_at" if "created_at" in columns else "created"]
                metadata, folder = json.loads(row["metadata"]), folders.media / row["id"]
                sidecar = Sidecar(title=row["title"], metadata=metadata, created_at=created_at)
                yield Sidecar.read(folder) is None and sidecar.write(folder)
    except (sqlite3.Error, ValueError, IndexError) as error:
        log.warning("titles cannot be read further", detail=str(error))


class _Repair:
    def __init__(self, database: Database, report: RepairReport) -> None:
        self._database = database
        self._folders = database.folders
        self._report = report
        with database.reading() as connection:
            self._rows = set(connection.execute(select(schema.videos.c.id)).scalars())
            self._deleted = deleted_ids(connection) - self._rows
            self._files = vector_files.every(connection)

    def run(self, report_progress: ReportProgress) -> None:
        self._bring_orphans_back()
        originals = ids_in(self._folders.media, "original")
        missing = sorted(originals - self._rows - self._deleted)
        restored: list[tuple[Video, list[VectorFile]]] = []
        with closing(_Prober()) as prober:
            for number, video_id in enumerate(missing):
                report_progress(number, len(missing), video_id)
                files = list(self._vectors(video_id))
                restored.append((self._video(video_id, files, prober), files))
        named = [file for video_id in sorted(self._rows) for file in self._unnamed(video_id)]
        with_vectors = {path.name for path in self._folders.vectors.iterdir()}
        self._report.without_media = sorted(with_vectors - originals)
        self._report.renamed_vectors = [file.path for file in named]
        with self._database.writing() as connection:
            for video, files in restored:
                self._add(connection, video, files)
            for file in named:
                vector_files.add(connection, file)
                record_change(connection, "backfilled", file.video_id, file.spec)

    def _bring_orphans_back(self) -> None:
        """Move orphans to where they lay, except those of videos that a user deleted."""
        media, vectors = self._folders.media, self._folders.vectors
        skipped = set()
        for place in (media, vectors):
            for batch in sorted(self._folders.orphans.glob("*"), reverse=True):
                for orphan in sorted((batch / place.name).glob("*")):
                    homes = (media / orphan.name, batch / "media" / orphan.name)
                    if orphan.name in self._deleted:
                        skipped.add(orphan.name)
                    elif any((home / "original").is_file() for home in homes):
                        _merge(orphan, place / orphan.name)
        self._report.deleted = sorted(skipped)

    def _video(self, video_id: str, files: list[VectorFile], prober: "_Prober") -> Video:
        original = self._folders.media / video_id / "original"
        status = original.stat()
        sidecar = Sidecar.read(original.parent) or Sidecar(
            title=video_id, metadata={}, created_at=status.st_mtime
        )
        digest = sha256_of(original)
        if video_id != f"v{digest[:20]}":
            self._report.changed.append(video_id)
        # A file that was never decoded may be hostile; its ingest describes it.
        info = prober.info(original) if files else UNKNOWN
        seconds = max((file.seconds for file in files), default=0.0)
        return Video(
            id=video_id,
            title=sidecar.title,
            metadata=sidecar.metadata,
            sha256=digest,
            bytes=status.st_size,
            duration=info.duration or seconds,
            width=info.width,
            height=info.height,
            codec=info.codec,
            container=info.container,
            state="ready" if files else "queued",
            created_at=sidecar.created_at,
            indexed_seconds=seconds,
        )

    def _vectors(self, video_id: str) -> Iterator[VectorFile]:
        """Read the newest readable file of each spec."""
        folder = self._folders.vectors / video_id
        newest_first = sorted(folder.glob("*.npz"), key=lambda path: -path.stat().st_mtime_ns)
        specs = set()
        for path in newest_first:
            name = f"{video_id}/{path.name}"
            try:
                file = VectorFile.of(name, read_vectors(path))
            except CorruptArtifact as error:
                log.warning("vectors are unreadable", video_id=video_id, detail=str(error))
                self._report.unreadable.append(name)
                continue
            if file.spec not in specs:
                specs.add(file.spec)
                yield file

    def _unnamed(self, video_id: str) -> Iterator[VectorFile]:
        """Find the files of a known video whose specs the catalogue has no file for."""
        named = [file for file in self._files if file.video_id == video_id]
        paths, specs = {file.path for file in named}, {file.spec for file in named}
        folder = self._folders.vectors / video_id
        if any(f"{video_id}/{path.name}" not in paths for path in folder.glob("*.npz")):
            yield from (file for file in self._vectors(video_id) if file.spec not in specs)

    def _add(self, connection: Connection, video: Video, files: list[VectorFile]) -> None:
        videos.add(connection, video)
        now = time.time()
        number = jobs.add(connection, video.id, now)
        for file in files:
            vector_files.add(connection, file)
        if not files:
            self._report.queued.append(video.id)
            return
        self._report.ready.append(video.id)
        job = update(schema.jobs).where(schema.jobs.c.number == number)
        connection.execute(job.values(state="ready", progress=1.0, finished_at=now))
        record_change(connection, "indexed", video.id)


class _Prober:
    """Probes files in a process of its own, which a damaged file may kill."""

    def __init__(self) -> None:
        self._pool = _new_pool()

    def close(self) -> None:
        self._pool.shutdown()

    def info(self, path: Path) -> VideoInfo:
        try:
            return self._pool.submit(probe, path, NO_LIMITS).result()
        except QasirError as error:
            log.warning("media cannot be probed", path=str(path), detail=str(error))
        except BrokenProcessPool:
            log.warning("media kills its decoder", path=str(path))
            self._pool = _new_pool()
        return UNKNOWN


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _merge(orphan: Path, place: Path) -> None:
    """Move an orphan to its place, except files that have a successor there."""
    if not place.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(orphan, place)
    elif orphan.is_dir() and place.is_dir():
        for child in sorted(orphan.iterdir()):
            _merge(child, place / child.name)
