"""The worker's side of the jobs: a durable queue that survives every process.

A job belongs to whoever claimed it (`owner`, one name per worker run). Each later write names the
owner, so a worker whose job was deleted or taken over finds out at its next heartbeat and stops.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Connection, select, update

from qasir.contract.jobs import Stage
from qasir.types import VideoInfo
from service.catalogue import jobs, schema, vector_files
from service.catalogue.db import Database, record_change
from service.catalogue.jobs import Job, JobError, set_video_state
from service.catalogue.vector_files import VectorFile

QUEUED: dict[str, Any] = {
    "state": "queued",
    "stage": None,
    "progress": 0.0,
    "eta_seconds": None,
    "owner": None,
}


@dataclass(frozen=True)
class Claim:
    """A job in the hands of one worker run; `traceparent` is of the request that made it."""

    job: Job
    owner: str
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

    def claim(self, owner: str) -> Claim | None:
        """Take the oldest job that may run now."""
        now = self._clock()
        due = (schema.jobs.c.state == "queued") & (schema.jobs.c.not_before <= now)
        oldest = select(schema.jobs).where(due).order_by(schema.jobs.c.number).limit(1)
        with self._database.writing() as connection:
            row = connection.execute(oldest).one_or_none()
            if row is None:
                return None
            taken = {"state": "running", "stage": "probe", "owner": owner, "started_at": now}
            values = QUEUED | taken | {"heartbeat_at": now, "attempts": row.attempts + 1}
            number = schema.jobs.c.number == row.number
            connection.execute(update(schema.jobs).where(number).values(**values))
            set_video_state(connection, row.video_id, "running")
            return Claim(jobs.get(connection, row.id), owner, row.traceparent)

    def requeue_abandoned(self, owner: str) -> list[str]:
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
            released = _write(connection, claim, QUEUED | values)
            if released:
                set_video_state(connection, claim.job.video_id, "queued")
            return released

    def fail(self, claim: Claim, error: JobError) -> bool:
        """End the job with a reason."""
        with self._database.writing() as connection:
            failed = self._finish(connection, claim, error)
            if failed:
                set_video_state(connection, claim.job.video_id, "failed")
            return failed

    def commit(
        self,
        claim: Claim,
        info: VideoInfo,
        files: Sequence[VectorFile],
        is_current: Callable[[], bool] = lambda: True,
    ) -> bool:
        """Make the video searchable: rows, job and change in one step.

        `is_current` is asked where no activation can come in between. False: what was encoded
        is of no use, or the video was deleted meanwhile; nothing is written.
        """
        with self._database.writing() as connection:
            if not is_current() or not self._finish(connection, claim, None):
                return False
            video_id = claim.job.video_id
            _set_info(connection, video_id, info, max(file.seconds for file in files))
            for file in files:
                vector_files.add(connection, file)
            record_change(connection, "indexed", video_id)
            return True

    def _finish(self, connection: Connection, claim: Claim, error: JobError | None) -> bool:
        now = self._clock()
        done: dict[str, Any] = {"finished_at": now, "eta_seconds": None, "heartbeat_at": now}
        if error is None:
            return _write(connection, claim, done | {"state": "ready", "progress": 1.0})
        reason = {f"error_{name}": value for name, value in asdict(error).items()}
        return _write(connection, claim, done | reason | {"state": "failed"})


def _write(connection: Connection, claim: Claim, values: dict[str, Any]) -> bool:
    held = (
        (schema.jobs.c.id == claim.job.id)
        & (schema.jobs.c.owner == claim.owner)
        & (schema.jobs.c.state == "running")
    )
    return connection.execute(update(schema.jobs).where(held).values(**values)).rowcount == 1


def _set_info(connection: Connection, video_id: str, info: VideoInfo, seconds: float) -> None:
    values = {
        "state": "ready",
        "duration": info.duration or seconds,
        "indexed_seconds": seconds,
        "width": info.width,
        "height": info.height,
        "codec": info.codec,
        "container": info.container,
    }
    row = schema.videos.c.id == video_id
    connection.execute(update(schema.videos).where(row).values(**values))
