"""The one queue: videos to encode into a model's space, with attempts, delays and failures.

    ingest     makes an uploaded video searchable with the active model, and is what clients see
    backfill   gives a ready video the vectors of a model that lacks them

A job belongs to the worker run that claimed it (`owner`). Each later write names the owner, so a
worker whose job was deleted or taken over notices at its next heartbeat and stops.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, delete, select, update

from qasir.contract.jobs import JobState, Stage
from qasir.types import VideoInfo
from service.catalogue import backfills, schema, vector_files
from service.catalogue.backfills import Target
from service.catalogue.db import Repository
from service.catalogue.jobs import Job, JobError, job_of, set_video_state
from service.catalogue.schema import newest_change, record_change
from service.catalogue.vector_files import VectorFile

# Where no video lacks vectors, and nothing has changed, not every claim looks at all of them.
REST_SECONDS = 2.0

JOB = schema.jobs.c

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
    """The progress of a running job, in 0..1, and the seconds that are left."""

    stage: Stage
    progress: float
    eta_seconds: float | None


class JobQueue(Repository):
    """Claims jobs and ends them."""

    # The change number at which these targets lacked nothing, and how long to believe it.
    _complete: tuple[int, tuple[Target, ...]] | None = None
    _complete_until = 0.0

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
        abandoned = (JOB.state == "running") & (JOB.owner != owner)
        with self.database.writing() as connection:
            ids = list(connection.execute(select(JOB.id).where(abandoned)).scalars())
            connection.execute(update(schema.jobs).where(abandoned).values(**QUEUED))
            return ids

    def heartbeat(self, claim: Claim, progress: Progress) -> bool:
        """Report how far the job is; False: it was deleted or taken away."""
        return self._update(claim, {"heartbeat_at": self.clock(), **asdict(progress)})

    def release(self, claim: Claim, delay: float) -> bool:
        """Queue the job again for at least `delay` seconds; the attempt does not count."""
        values = {"not_before": self.clock() + delay, "attempts": claim.job.attempts - 1}
        return self._update(claim, QUEUED | values, video_state="queued")

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End the job with a reason; False: it was deleted or taken away."""
        reason = {f"error_{name}": value for name, value in asdict(error).items()}
        return self._update(claim, self._ended("failed") | reason, video_state="failed")

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
        with self.database.writing() as connection:
            if not is_current():
                return False
            ready = self._ended("ready") | {"progress": 1.0}
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
            connection.execute(delete(schema.jobs).where(JOB.id == claim.job.id))
            for file in files:
                record_change(connection, "backfilled", video_id, file.spec)
            return True

    def _claim_ingest(self, owner: str) -> Claim | None:
        now = self.clock()
        due = (JOB.kind == "ingest") & (JOB.state == "queued") & (JOB.not_before <= now)
        oldest = select(JOB.number).where(due).order_by(JOB.number).limit(1)
        with self.database.writing() as connection:
            number = connection.execute(oldest).scalar_one_or_none()
            return None if number is None else _take(connection, number, owner, now)

    def _claim_backfill(self, owner: str, targets: Sequence[Target]) -> Claim | None:
        now = self.clock()
        with self.database.writing() as connection:
            due = backfills.next_due(connection, targets, now)
            return None if due is None else _take(connection, due[0], owner, now, due[1])

    def _with_work(self, targets: Sequence[Target]) -> list[Target]:
        now = self.clock()
        with self.database.reading() as connection:
            state = newest_change(connection), tuple(targets)
            resting = state == self._complete and now < self._complete_until
            with_work = [
                target
                for target in targets
                if backfills.has_work(connection, target, now, search_missing=not resting)
            ]
        if not with_work and not resting:
            self._complete, self._complete_until = state, now + REST_SECONDS
        return with_work

    def _ended(self, state: JobState) -> dict[str, Any]:
        now = self.clock()
        return {"state": state, "finished_at": now, "eta_seconds": None, "heartbeat_at": now}

    def _update(
        self, claim: Claim, values: dict[str, Any], video_state: JobState | None = None
    ) -> bool:
        with self.database.writing() as connection:
            return _write(connection, claim, values, video_state)


def _take(
    connection: Connection, number: int, owner: str, now: float, target: Target | None = None
) -> Claim:
    taken = {"state": "running", "stage": "probe", "owner": owner, "started_at": now}
    # Counted before the attempt, so that one that kills the worker counts.
    counted = {"heartbeat_at": now, "attempts": JOB.attempts + 1}
    job = update(schema.jobs).where(JOB.number == number).values(**QUEUED | taken | counted)
    row = connection.execute(job.returning(schema.jobs)).one()
    if target is None:
        set_video_state(connection, row.video_id, "running")
    return Claim(job_of(row), owner, target, row.traceparent)


def _write(
    connection: Connection, claim: Claim, values: dict[str, Any], video_state: JobState | None
) -> bool:
    """Update a job that is still the claim's; an ingest's video follows to `video_state`."""
    same = (JOB.id == claim.job.id) & (JOB.owner == claim.owner) & (JOB.state == "running")
    written = connection.execute(update(schema.jobs).where(same).values(**values)).rowcount == 1
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
