"""One state folder's catalogue: its repositories over one database.

Processes share nothing but this file, the media and the vectors. Whatever changes the answer of a
search also writes a change, in the same transaction; a searcher that has seen the newest change
number has seen everything.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select

from qasir.contract.jobs import JobState
from qasir.manifest import EmbeddingSpec
from service.catalogue import jobs, schema, vector_files, videos
from service.catalogue.backfills import Backfills
from service.catalogue.db import Database, Repository
from service.catalogue.jobs import Jobs
from service.catalogue.queue import JobQueue
from service.catalogue.schema import newest_change
from service.catalogue.vector_files import VectorFile, VectorFiles
from service.catalogue.videos import Video, Videos

# Above this many changed videos, reading all rows is cheaper than naming each.
RELOAD_ABOVE = 2000


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
        """Open the catalogue, and create it where the state folder is new; raises as `Database`."""
        self._database = Database(path)
        self._clock = clock
        self.videos = Videos(self._database, clock)
        self.jobs = Jobs(self._database, clock)
        self.queue = JobQueue(self._database, clock)
        self.backfills = Backfills(self._database, clock)
        self.vector_files = VectorFiles(self._database, clock)
        self.changes = Changes(self._database)

    def close(self) -> None:
        self._database.close()

    def totals(self, specs: Sequence[EmbeddingSpec]) -> Totals:
        """Count the jobs, and what is searchable under these specs, at one moment."""
        kind = schema.changes.c.kind
        unreadable = select(func.count()).where(kind == "unreadable")
        first = jobs.INGESTS.with_only_columns(func.min(schema.jobs.c.created_at))
        with self._database.reading() as connection:
            oldest = connection.execute(first.where(schema.jobs.c.state == "queued")).scalar_one()
            counts = {spec: vector_files.count(connection, spec) for spec in specs}
            return Totals(
                jobs=jobs.counts(connection),
                oldest_queued_seconds=max(0.0, self._clock() - oldest) if oldest else 0.0,
                change_number=newest_change(connection),
                searchable_videos=max((videos for videos, _ in counts.values()), default=0),
                super_images={spec.grid_size: n for spec, (_, n) in counts.items() if n},
                unreadable_files=connection.execute(unreadable).scalar_one(),
            )


@dataclass(frozen=True)
class ChangeSet:
    """What a searcher must do to be as of change `number`.

    `relevant` is the newest change that may concern the spec, the same for every searcher;
    `files` are to be loaded, with the `videos` they are of, by id; `gone` are ids to be dropped.
    `complete`: `files` are all there are, anything else loaded is to be dropped too.
    """

    number: int
    relevant: int
    files: Sequence[VectorFile]
    videos: Mapping[str, Video]
    gone: frozenset[str]
    complete: bool


class Changes(Repository):
    """The numbered changes, by which a searcher brings its index up to date."""

    def number(self) -> int:
        """Return the number of the newest change; 0 where there is none."""
        with self.database.reading() as connection:
            return newest_change(connection)

    def since(self, spec: EmbeddingSpec, number: int | None) -> ChangeSet:
        """Read what happened to the videos of one spec after change `number`; None: everything."""
        with self.database.reading() as connection:
            last, relevant = newest_change(connection), newest_change(connection, spec)
            touched = _touched(connection, number)
            if touched is None:
                files = vector_files.with_spec(connection, spec)
                indexed = videos.indexed_with(connection, spec)
                return ChangeSet(last, relevant, files, indexed, frozenset(), complete=True)
            files = vector_files.with_spec(connection, spec, sorted(touched))
            indexed = videos.among(connection, [file.video_id for file in files])
            gone = frozenset(touched - indexed.keys())
            return ChangeSet(last, relevant, files, indexed, gone, complete=False)


def _touched(connection: Connection, number: int | None) -> set[str] | None:
    if number is None:
        return None
    later = select(schema.changes.c.video_id).distinct().where(schema.changes.c.number > number)
    ids = set(connection.execute(later.limit(RELOAD_ABOVE + 1)).scalars())
    return ids if len(ids) <= RELOAD_ABOVE else None
