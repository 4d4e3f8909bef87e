"""One state folder's catalogue: its repositories over one database.

Processes share nothing but this file, the media and the vectors. Whatever changes the answer of a
search also writes a change, in the same transaction; a searcher that has seen the newest change
number has seen everything.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from qasir.contract.jobs import JobState
from qasir.manifest import EmbeddingSpec
from service.catalogue import changes, jobs, vector_files
from service.catalogue.backfills import Backfills
from service.catalogue.changes import Changes
from service.catalogue.db import Database
from service.catalogue.jobs import Jobs
from service.catalogue.queue import JobQueue
from service.catalogue.vector_files import VectorFiles
from service.catalogue.videos import Videos
from service.folders import StateFolders


@dataclass(frozen=True)
class Totals:
    """Counts for the metrics page; `oldest_queued_seconds` is 0 where no job is queued."""

    jobs: dict[JobState, int]
    oldest_queued_seconds: float
    change_number: int
    searchable_videos: int
    super_images: dict[int, int]
    unreadable_files: int


class Catalogue:
    """Videos, jobs, vector files and changes; safe to share by threads."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Open the catalogue, and create it where the state folder is new.

        Raises:
            CorruptArtifact: it is damaged, or missing or empty beside media or vectors.
            InvalidConfig: another version of this schema wrote it.
            Conflict: it is being repaired.
        """
        self._database = Database(path)
        self._clock = clock
        folders = StateFolders(path.parent)
        self.videos = Videos(self._database, folders, clock)
        self.jobs = Jobs(self._database, clock)
        self.queue = JobQueue(self._database, clock)
        self.backfills = Backfills(self._database, clock)
        self.vector_files = VectorFiles(self._database, folders, clock)
        self.changes = Changes(self._database)

    def close(self) -> None:
        """Release the file handles."""
        self._database.close()

    def totals(self, specs: Sequence[EmbeddingSpec]) -> Totals:
        """Counts of jobs, and of what is searchable under these specs, at one moment."""
        with self._database.reading() as connection:
            oldest = jobs.oldest_queued(connection)
            counts = {spec: vector_files.count(connection, spec) for spec in specs}
            return Totals(
                jobs=jobs.counts(connection),
                oldest_queued_seconds=max(0.0, self._clock() - oldest) if oldest else 0.0,
                change_number=changes.newest(connection),
                searchable_videos=max((videos for videos, _ in counts.values()), default=0),
                super_images={
                    spec.grid_size: super_images
                    for spec, (_, super_images) in counts.items()
                    if super_images
                },
                unreadable_files=changes.count(connection, "unreadable"),
            )
