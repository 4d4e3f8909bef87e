"""Rows of ingest jobs: a durable queue that survives every process.

A job belongs to whoever claimed it (`owner`, one name per worker run). Each later write
names the owner, so that a worker whose job was deleted or taken over finds out at its
next heartbeat and stops.
"""

import uuid
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Row, func, insert, select, update

from qasir.errors import Conflict, NotFound
from service.catalogue import schema
from service.catalogue.page import Page, cut
from service.observability.tracing import traceparent

JobState = Literal["queued", "running", "ready", "failed", "cancelled"]
Stage = Literal["probe", "decode", "tile", "encode", "commit"]
JOB_STATES: tuple[JobState, ...] = get_args(JobState)
STAGES: tuple[Stage, ...] = get_args(Stage)
OPEN_STATES: tuple[JobState, ...] = ("queued", "running")


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a code of `qasir.errors`, and whether trying again may help."""

    code: str
    detail: str
    retryable: bool


@dataclass(frozen=True)
class Job:
    """One ingest of one video; times in seconds since 1970."""

    id: str
    video_id: str
    state: JobState
    stage: Stage | None
    progress: float
    eta_seconds: float | None
    attempts: int
    error: JobError | None
    created_at: float
    started_at: float | None
    finished_at: float | None

    @property
    def ended(self) -> bool:
        """Whether nothing will change any more."""
        return self.state not in OPEN_STATES


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


def add(connection: Connection, video_id: str, now: float) -> Job:
    """Queue an ingest."""
    job_id = f"j{uuid.uuid4().hex[:20]}"
    connection.execute(
        insert(schema.jobs).values(
            id=job_id,
            video_id=video_id,
            state="queued",
            created=now,
            traceparent=traceparent(),
        )
    )
    return get(connection, job_id)


def get(connection: Connection, job_id: str) -> Job:
    """The job with this id.

    Raises:
        NotFound: there is none.
    """
    row = connection.execute(select(schema.jobs).where(schema.jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise NotFound(
            f"no job '{job_id[:60]}'; `qasir jobs list` or GET /v1/jobs says what there is"
        )
    return _job(row)


def newest_of(connection: Connection, video_id: str) -> Job:
    """The newest job of a video; every video has one."""
    mine = select(schema.jobs).where(schema.jobs.c.video_id == video_id)
    return _job(connection.execute(mine.order_by(schema.jobs.c.number.desc()).limit(1)).one())


def page(connection: Connection, offset: int, limit: int, state: JobState | None) -> list[Job]:
    """Jobs, newest first; of one state, or of all."""
    query = select(schema.jobs).order_by(schema.jobs.c.number.desc()).offset(offset).limit(limit)
    if state is not None:
        query = query.where(schema.jobs.c.state == state)
    return [_job(row) for row in connection.execute(query)]


def list_page(
    connection: Connection, limit: int, before: int | None, state: JobState | None
) -> Page[Job, int]:
    """Jobs, newest first, from the one before a number; of one state, or of all."""
    query = select(schema.jobs).order_by(schema.jobs.c.number.desc()).limit(limit + 1)
    if before is not None:
        query = query.where(schema.jobs.c.number < before)
    if state is not None:
        query = query.where(schema.jobs.c.state == state)
    page = cut(connection.execute(query).all(), limit, lambda row: int(row.number))
    return Page([_job(row) for row in page.rows], page.next_key)


def counts(connection: Connection) -> dict[JobState, int]:
    """How many jobs are in each state, zeros included."""
    query = select(schema.jobs.c.state, func.count()).group_by(schema.jobs.c.state)
    found = {row[0]: int(row[1]) for row in connection.execute(query)}
    return {state: found.get(state, 0) for state in JOB_STATES}


def oldest_queued(connection: Connection) -> float | None:
    """When the oldest job that waits was created; None where none does."""
    waiting = select(func.min(schema.jobs.c.created)).where(schema.jobs.c.state == "queued")
    created: float | None = connection.execute(waiting).scalar_one()
    return created


def claim(connection: Connection, owner: str, now: float) -> Claim | None:
    """Take the oldest job that may run now."""
    due = (schema.jobs.c.state == "queued") & (schema.jobs.c.not_before <= now)
    row = connection.execute(
        select(schema.jobs).where(due).order_by(schema.jobs.c.number).limit(1)
    ).one_or_none()
    if row is None:
        return None
    taken = {"state": "running", "stage": "probe", "owner": owner, "heartbeat": now, "started": now}
    connection.execute(
        update(schema.jobs)
        .where(schema.jobs.c.number == row.number)
        .values(**_AFRESH | taken, attempts=row.attempts + 1)
    )
    return Claim(get(connection, row.id), owner, row.traceparent)


def requeue_abandoned(connection: Connection, owner: str) -> list[str]:
    """Queue again what ran under any other owner; their ids.

    Only for a worker that holds the state folder's lock: every other owner is dead then.
    """
    abandoned = (schema.jobs.c.state == "running") & (schema.jobs.c.owner != owner)
    ids = list(connection.execute(select(schema.jobs.c.id).where(abandoned)).scalars())
    connection.execute(update(schema.jobs).where(abandoned).values(**_AFRESH))
    return ids


def heartbeat(connection: Connection, mine: Claim, now: float, progress: Progress) -> bool:
    """Say how far the job is; False: it is no longer this owner's."""
    return _write(connection, mine, {"heartbeat": now, **progress.__dict__})


def release(connection: Connection, mine: Claim, not_before: float) -> bool:
    """Back into the queue through no fault of its own: the attempt does not count."""
    attempts = mine.job.attempts - 1
    return _write(connection, mine, _AFRESH | {"not_before": not_before, "attempts": attempts})


def finish(connection: Connection, mine: Claim, now: float, error: JobError | None) -> bool:
    """End the job as ready, or as failed with a reason."""
    done: dict[str, Any] = {"finished": now, "eta_seconds": None, "heartbeat": now}
    if error is None:
        return _write(connection, mine, done | {"state": "ready", "progress": 1.0})
    reason = {
        "error_code": error.code,
        "error_detail": error.detail,
        "error_retryable": error.retryable,
    }
    return _write(connection, mine, done | reason | {"state": "failed"})


def cancel(connection: Connection, job_id: str, now: float) -> Job:
    """End a job without a result; its worker, if it has one, loses it.

    Raises:
        NotFound: there is none.
        Conflict: it has ended otherwise.
    """
    job = get(connection, job_id)
    if job.state == "cancelled":
        return job
    if job.ended:
        raise Conflict(
            f"job '{job.id}' is {job.state} already; only a queued or running job can be "
            f"cancelled, and DELETE /v1/videos/{job.video_id} removes its video"
        )
    ended = {"state": "cancelled", "finished": now, "eta_seconds": None}
    connection.execute(update(schema.jobs).where(schema.jobs.c.id == job_id).values(**ended))
    return get(connection, job_id)


def retry(connection: Connection, job_id: str, now: float) -> Job:
    """A new job for the video of one that failed or was cancelled.

    Raises:
        NotFound: there is none.
        Conflict: it may still succeed, has succeeded, or was followed by another.
    """
    job = get(connection, job_id)
    if job.state not in ("failed", "cancelled"):
        raise Conflict(
            f"job '{job.id}' is {job.state}; only a failed or cancelled job can be retried"
        )
    newest = newest_of(connection, job.video_id)
    if newest.id != job.id:
        raise Conflict(
            f"job '{job.id}' was followed by job '{newest.id}', which is {newest.state}; "
            f"only the newest job of a video can be retried"
        )
    return add(connection, job.video_id, now)


_AFRESH: dict[str, Any] = {
    "state": "queued",
    "stage": None,
    "progress": 0.0,
    "eta_seconds": None,
    "owner": None,
}


def _write(connection: Connection, mine: Claim, values: dict[str, Any]) -> bool:
    held = (
        (schema.jobs.c.id == mine.job.id)
        & (schema.jobs.c.owner == mine.owner)
        & (schema.jobs.c.state == "running")
    )
    return connection.execute(update(schema.jobs).where(held).values(**values)).rowcount == 1


def _job(row: Row[Any]) -> Job:
    error = (
        JobError(row.error_code, row.error_detail, row.error_retryable) if row.error_code else None
    )
    return Job(
        id=row.id,
        video_id=row.video_id,
        state=row.state,
        stage=row.stage,
        progress=row.progress,
        eta_seconds=row.eta_seconds,
        attempts=row.attempts,
        error=error,
        created_at=row.created,
        started_at=row.started,
        finished_at=row.finished,
    )
