"""The one queue: videos to encode into a model's space, with attempts, delays and failures.

    ingest     makes an uploaded video searchable with the active model, and is what clients see
    backfill   gives a ready video the vectors of a model that lacks them

A job belongs to whoever claimed it (`owner`, one name per worker run). Each later write names the
owner, so a worker whose job was deleted or taken over finds out at its next heartbeat and stops.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from qasir.contract.jobs import JobState, Stage
from qasir.types import VideoInfo
from service.catalogue import backfills, changes, schema, vector_files
from service.catalogue.backfills import Target
from service.catalogue.db import Database, record_change
from service.catalogue.jobs import Job, JobError, job_of, set_video_state
from service.catalogue.vector_files import VectorFile

# Where no video lacks vectors, and nothing has changed, not every claim looks at all of them.
REST_SECONDS = 2.0

QUEUED: dict[str, Any] = {
    "state": "queued",
    "stage": None,
    "progress": 0.0,
    "eta_seconds": None,
    "owner": None,
}


@dataclass(frozen=True)
class Claim:
    """A job in the hands of one worker run.

    target: what a backfill encodes; None: an ingest, with the active model;
    traceparent: of the request that made the job.
    """

    job: Job
    owner: str
    target: Target | None = None
    traceparent: str | None = None


@dataclass(frozen=True)
class Progress:
    """How far a running job is: `progress` in 0..1."""

    stage: Stage
    progress: float
    eta_seconds: float | None


class JobQueue:
    """Claims jobs and ends them; safe to share by threads and processes."""

    def __init__(self, database: Database, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._clock = clock
        self._complete: tuple[int, tuple[Target, ...]] | None = None
        self._complete_until = 0.0

    def claim(
        self,
        owner: str,
        targets: Sequence[Target] = (),
        is_served: Callable[[int], bool] = lambda _: True,
        *,
        backfill_first: bool = False,
    ) -> Claim | None:
        """Take the oldest ingest that may run now, or else a backfill for one of `targets`.

        Backfills that a search requested come first, then the targets in their order. A target
        whose model version is not served keeps no other waiting.
        """
        if not backfill_first and (claim := self._claim_ingest(owner)):
            return claim
        served = [target for target in self._with_work(targets) if is_served(target.version)]
        if served and (claim := self._claim_backfill(owner, served)):
            return claim
        return self._claim_ingest(owner) if backfill_first else None

    def requeue_abandoned(self, owner: str = "") -> list[str]:
        """Queue again what ran under any other owner; the jobs' ids.

        Only for a worker that holds the state folder's lock: every other owner is dead then.
        """
        abandoned = (schema.jobs.c.state == "running") & (schema.jobs.c.owner != owner)
        with self._database.writing() as connection:
            ids = list(connection.execute(select(schema.jobs.c.id).where(abandoned)).scalars())
            connection.execute(update(schema.jobs).where(abandoned).values(**QUEUED))
            return ids

    def heartbeat(self, claim: Claim, progress: Progress) -> bool:
        """Report how far the job is; False: it was deleted or taken away."""
        values = {"heartbeat_at": self._clock(), **asdict(progress)}
        with self._database.writing() as connection:
            return _write(connection, claim, values)

    def release(self, claim: Claim, delay: float) -> bool:
        """Queue the job again for at least `delay` seconds; the attempt does not count."""
        values = {"not_before": self._clock() + delay, "attempts": claim.job.attempts - 1}
        with self._database.writing() as connection:
            return _write(connection, claim, QUEUED | values, video_state="queued")

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End the job with a reason; False: it was deleted or taken away."""
        reason = {f"error_{name}": value for name, value in asdict(error).items()}
        values = self._ended() | reason | {"state": "failed"}
        with self._database.writing() as connection:
            return _write(connection, claim, values, video_state="failed")

    def commit(
        self,
        claim: Claim,
        info: VideoInfo,
        files: Sequence[VectorFile],
        is_current: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Make the vectors searchable: rows, job and changes in one step.

        `is_current` is asked where no activation can come in between. False: what was encoded
        is of no use, or the video was deleted meanwhile; nothing is written.
        """
        video_id = claim.job.video_id
        with self._database.writing() as connection:
            if not is_current():
                return False
            ready = self._ended() | {"state": "ready", "progress": 1.0}
            if not _write(connection, claim, ready, video_state="ready"):
                return False
            for file in files:
                vector_files.add(connection, file)
            backfills.forget_of_video(connection, video_id, [file.spec for file in files])
            if claim.job.kind == "ingest":
                _describe(connection, video_id, info, max(file.seconds for file in files))
                record_change(connection, "indexed", video_id)
                return True
            # Its vectors say that it succeeded.
            connection.execute(delete(schema.jobs).where(schema.jobs.c.id == claim.job.id))
            for file in files:
                record_change(connection, "backfilled", video_id, file.spec)
            return True

    def _claim_ingest(self, owner: str) -> Claim | None:
        job, now = schema.jobs.c, self._clock()
        due = (job.kind == "ingest") & (job.state == "queued") & (job.not_before <= now)
        oldest = select(job.number).where(due).order_by(job.number).limit(1)
        with self._database.writing() as connection:
            number = connection.execute(oldest).scalar_one_or_none()
            return None if number is None else _take(connection, number, owner, now)

    def _claim_backfill(self, owner: str, targets: Sequence[Target]) -> Claim | None:
        now = self._clock()
        with self._database.writing() as connection:
            due = backfills.next_due(connection, targets, now)
            return None if due is None else _take(connection, due.number, owner, now, due.target)

    def _with_work(self, targets: Sequence[Target]) -> list[Target]:
        now = self._clock()
        with self._database.reading() as connection:
            state = changes.newest(connection), tuple(targets)
            resting = state == self._complete and now < self._complete_until
            found = [
                target
                for target in targets
                if backfills.has_work(connection, target, now, search_missing=not resting)
            ]
        if not found and not resting:
            self._complete, self._complete_until = state, now + REST_SECONDS
        return found

    def _ended(self) -> dict[str, Any]:
        now = self._clock()
        return {"finished_at": now, "eta_seconds": None, "heartbeat_at": now}


def _take(
    connection: Connection, number: int, owner: str, now: float, target: Target | None = None
) -> Claim:
    job = schema.jobs.c
    taken = {"state": "running", "stage": "probe", "owner": owner, "started_at": now}
    # Counted before the attempt, so that one that kills the worker counts.
    counted = {"heartbeat_at": now, "attempts": job.attempts + 1}
    connection.execute(
        update(schema.jobs).where(job.number == number).values(**QUEUED | taken | counted)
    )
    row = connection.execute(select(schema.jobs).where(job.number == number)).one()
    if target is None:
        set_video_state(connection, row.video_id, "running")
    return Claim(job_of(row), owner, target, row.traceparent)


def _write(
    connection: Connection,
    claim: Claim,
    values: dict[str, Any],
    video_state: JobState | None = None,
) -> bool:
    """Update a job that is still the claim's; an ingest's video follows to `video_state`."""
    held = (
        (schema.jobs.c.id == claim.job.id)
        & (schema.jobs.c.owner == claim.owner)
        & (schema.jobs.c.state == "running")
    )
    written = connection.execute(update(schema.jobs).where(held).values(**values)).rowcount == 1
    if written and video_state and claim.job.kind == "ingest":
        set_video_state(connection, claim.job.video_id, video_state)
    return written


def _describe(connection: Connection, video_id: str, info: VideoInfo, seconds: float) -> None:
    """Store what decoding found out about the file, `seconds` of which are indexed."""
    values = {
        "duration": info.duration or seconds,
        "indexed_seconds": seconds,
        "width": info.width,
        "height": info.height,
        "codec": info.codec,
        "container": info.container,
    }
    row = schema.videos.c.id == video_id
    connection.execute(update(schema.videos).where(row).values(**values))
