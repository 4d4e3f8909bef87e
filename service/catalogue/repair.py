"""Rebuilds a catalogue from media and vector files, and brings orphans back.

    media/<id>/original     id, SHA-256 and bytes; codec and size by probing
    media/<id>/video.json   title, metadata, created_at
    vectors/<id>/*.npz      spec, frames and seconds

What is read is collected first and written in one transaction, so a repair that is interrupted is
begun again. Videos without readable vectors are queued for ingestion.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path

import structlog
from sqlalchemy import Connection, select, update

from qasir.artifacts import sha256_of
from qasir.errors import CorruptArtifact, InvalidConfig, QasirError
from qasir.types import VideoInfo
from qasir.vectors import read_vectors
from qasir.video import Limits, probe
from service.catalogue import jobs, salvage, schema, sidecars, vector_files, videos
from service.catalogue.db import LOCK_NAME, Database, record_change
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video
from service.folders import StateFolders
from service.lock import only_one

# What was accepted once is described, whatever today's limits are.
NO_LIMITS = Limits(max_seconds=float("inf"), max_pixels=1 << 40)

log = structlog.get_logger()


@dataclass(frozen=True)
class RepairProgress:
    """So many of the videos to restore have been read; `video_id` is next."""

    done: int
    total: int
    video_id: str


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
    folders: StateFolders,
    report_progress: Callable[[RepairProgress], None] = lambda _: None,
    clock: Callable[[], float] = time.time,
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
        result = RepairReport()
        database = _open(folders, result)
        try:
            _Repair(folders, database, result, clock).run(report_progress)
        finally:
            database.close()
    log.info("repaired", ready=len(result.ready), queued=len(result.queued))
    return result


def _open(folders: StateFolders, result: RepairReport) -> Database:
    try:
        return Database(folders.catalogue, repairing=True)
    except InvalidConfig:
        if salvage.version(folders.catalogue) > schema.SCHEMA_VERSION:
            raise
    except CorruptArtifact as error:
        log.warning("catalogue is damaged", detail=str(error))
    result.replaced = salvage.set_aside(folders)
    return Database(folders.catalogue, repairing=True)


class _Repair:
    def __init__(
        self,
        folders: StateFolders,
        database: Database,
        result: RepairReport,
        clock: Callable[[], float],
    ) -> None:
        self._folders = folders
        self._database = database
        self._result = result
        self._clock = clock
        with database.reading() as connection:
            self._rows = set(connection.execute(select(schema.videos.c.id)).scalars())
            deleted = select(schema.changes.c.video_id).where(schema.changes.c.kind == "deleted")
            self._deleted = set(connection.execute(deleted).scalars()) - self._rows
            self._files = vector_files.every(connection)

    def run(self, report_progress: Callable[[RepairProgress], None]) -> None:
        skipped = salvage.bring_back(self._folders, self._deleted)
        self._result.deleted = sorted(skipped)
        missing = sorted(self._originals() - self._rows - self._deleted)
        restored: list[tuple[Video, list[VectorFile]]] = []
        with _Prober() as prober:
            for number, video_id in enumerate(missing):
                report_progress(RepairProgress(number, len(missing), video_id))
                files = list(self._vectors(video_id))
                restored.append((self._video(video_id, files, prober), files))
        named = [file for video_id in sorted(self._rows) for file in self._unnamed(video_id)]
        self._result.renamed_vectors = [file.path for file in named]
        self._result.without_media = sorted(
            {path.name for path in self._folders.vectors.iterdir()} - self._originals()
        )
        with self._database.writing() as connection:
            for video, files in restored:
                self._add(connection, video, files)
            for file in named:
                vector_files.add(connection, file)
                record_change(connection, "backfilled", file.video_id, file.spec)

    def _originals(self) -> set[str]:
        return {path.parent.name for path in self._folders.media.glob("*/original")}

    def _video(self, video_id: str, files: list[VectorFile], prober: "_Prober") -> Video:
        original = self._folders.media / video_id / "original"
        sidecar = sidecars.read(original.parent)
        digest = sha256_of(original)
        if video_id != f"v{digest[:20]}":
            self._result.changed.append(video_id)
        # A file that was never decoded may be hostile; its ingest describes it.
        info = prober.info(original) if files else None
        seconds = max((file.seconds for file in files), default=0.0)
        return Video(
            id=video_id,
            title=sidecar.title if sidecar else video_id,
            metadata=sidecar.metadata if sidecar else {},
            sha256=digest,
            bytes=original.stat().st_size,
            duration=(info.duration if info else 0.0) or seconds,
            width=info.width if info else 0,
            height=info.height if info else 0,
            codec=info.codec if info else "",
            container=info.container if info else "",
            state="ready" if files else "queued",
            created_at=sidecar.created_at if sidecar else original.stat().st_mtime,
            indexed_seconds=seconds,
        )

    def _vectors(self, video_id: str) -> Iterator[VectorFile]:
        """The newest readable file of each spec."""
        folder = self._folders.vectors / video_id
        newest_first = sorted(folder.glob("*.npz"), key=lambda path: -path.stat().st_mtime_ns)
        specs = set()
        for path in newest_first:
            try:
                file = _read(path, self._folders)
            except CorruptArtifact as error:
                log.warning("vectors are unreadable", video_id=video_id, detail=str(error))
                self._result.unreadable.append(str(path.relative_to(self._folders.vectors)))
                continue
            if file.spec not in specs:
                specs.add(file.spec)
                yield file

    def _unnamed(self, video_id: str) -> Iterator[VectorFile]:
        named = [file for file in self._files if file.video_id == video_id]
        paths, specs = {file.path for file in named}, {file.spec for file in named}
        folder = self._folders.vectors / video_id
        if any(f"{video_id}/{path.name}" not in paths for path in folder.glob("*.npz")):
            yield from (file for file in self._vectors(video_id) if file.spec not in specs)

    def _add(self, connection: Connection, video: Video, files: list[VectorFile]) -> None:
        videos.add(connection, video)
        number = jobs.add(connection, video.id, self._clock())
        for file in files:
            vector_files.add(connection, file)
        if not files:
            self._result.queued.append(video.id)
            return
        self._result.ready.append(video.id)
        ready = {"state": "ready", "progress": 1.0, "finished_at": self._clock()}
        connection.execute(
            update(schema.jobs).where(schema.jobs.c.number == number).values(**ready)
        )
        record_change(connection, "indexed", video.id)


class _Prober:
    """Probes files in a process of its own, which a damaged file may kill."""

    def __enter__(self) -> "_Prober":
        self._pool = _new_pool()
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def info(self, path: Path) -> VideoInfo | None:
        try:
            return self._pool.submit(probe, path, NO_LIMITS).result()
        except QasirError as error:
            log.warning("media cannot be probed", path=str(path), detail=str(error))
        except BrokenProcessPool:
            log.warning("media kills its decoder", path=str(path))
            self._pool = _new_pool()
        return None


def _new_pool() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


def _read(path: Path, folders: StateFolders) -> VectorFile:
    vectors = read_vectors(path)
    return VectorFile(
        video_id=path.parent.name,
        **dict(vectors.spec),
        path=str(path.relative_to(folders.vectors)),
        frames=int(vectors.mask.sum()),
        super_images=len(vectors.super_images),
        seconds=float(vectors.times[vectors.mask].max()),
    )
