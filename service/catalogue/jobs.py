"""Ingest jobs as clients see them: listed, cancelled, retried.

    queued -> running -> ready
       |         |-----> failed ----+
       +---------+-----> cancelled -+--> retry: a new job of the same video

A job ends once and stays as it ended. `service.catalogue.queue` holds what a worker does with it.
"""

import uuid
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from sqlalchemy import Connection, Row, func, insert, select, update

from qasir.contract.jobs import JobState, Stage
from qasir.errors import Conflict, NotFound
from service.catalogue import schema
from service.catalogue.db import Page, Repository

JOB_STATES: tuple[JobState, ...] = get_args(JobState)
STAGES: tuple[Stage, ...] = get_args(Stage)
JobKind = Literal["ingest", "backfill"]
OPEN_STATES: tuple[JobState, ...] = ("queued", "running")
INGESTS = select(schema.jobs).where(schema.jobs.c.kind == "ingest")


@dataclass(frozen=True)
class JobError:
    """Why a job failed: a code of `qasir.errors`, and whether trying again may help."""

    code: str
    detail: str
    retryable: bool


@dataclass(frozen=True)
class Job:
    """One encoding of one video; times in seconds since 1970."""

    id: str
    kind: JobKind
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
        return self.state not in OPEN_STATES


class Jobs(Repository):
    """The ingest jobs of one catalogue."""

    def get(self, job_id: str) -> Job:
        """Return a job, or raise NotFound."""
        with self.database.reading() as connection:
            return get(connection, job_id)

    def newest_of(self, video_id: str) -> Job:
        """Return the newest job of a video that exists."""
        with self.database.reading() as connection:
            return newest_of(connection, video_id)

    def page(
        self, limit: int, before: int | None = None, state: JobState | None = None
    ) -> Page[Job, int]:
        """Read a page of jobs, newest first, from the one before a number; `state`: only these."""
        query = INGESTS.order_by(schema.jobs.c.number.desc()).limit(limit + 1)
        if before is not None:
            query = query.where(schema.jobs.c.number < before)
        if state is not None:
            query = query.where(schema.jobs.c.state == state)
        with self.database.reading() as connection:
            rows = connection.execute(query).all()
        page = Page.cut(rows, limit, lambda row: int(row.number))
        return Page([job_of(row) for row in page.rows], page.next_key)

    def queued_count(self) -> int:
        with self.database.reading() as connection:
            return counts(connection)["queued"]

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended; one that is cancelled already stays so.

        Its worker notices at its next heartbeat. Its video stays, and a retry is possible.

        Raises:
            NotFound: there is none with this id.
            Conflict: it is ready or has failed.
        """
        with self.database.writing() as connection:
            job = get(connection, job_id)
            if job.state == "cancelled":
                return job
            if job.ended:
                raise Conflict(
                    f"job '{job.id}' is {job.state} already; only a queued or running job can be "
                    f"cancelled, and DELETE /v1/videos/{job.video_id} removes its video"
                )
            values = {"state": "cancelled", "finished_at": self.clock(), "eta_seconds": None}
            row = schema.jobs.c.id == job_id
            connection.execute(update(schema.jobs).where(row).values(**values))
            if newest_of(connection, job.video_id).id == job.id:
                set_video_state(connection, job.video_id, "cancelled")
            return get(connection, job_id)

    def retry(self, job_id: str, traceparent: str | None = None) -> Job:
        """Queue a new job for the video of one that failed or was cancelled.

        Raises:
            NotFound: there is none with this id.
            Conflict: it is neither, or its video has a newer job.
        """
        with self.database.writing() as connection:
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
            set_video_state(connection, job.video_id, "queued")
            add(connection, job.video_id, self.clock(), traceparent=traceparent)
            return newest_of(connection, job.video_id)


def add(
    connection: Connection,
    video_id: str,
    now: float,
    *,
    kind: JobKind = "ingest",
    traceparent: str | None = None,
    requested_at: float | None = None,
) -> int:
    """Queue a job and return its number.

    traceparent: of the request that asked for it; requested_at: when a search asked for it.
    """
    row = insert(schema.jobs).values(
        id=f"j{uuid.uuid4().hex[:20]}",
        kind=kind,
        video_id=video_id,
        state="queued",
        traceparent=traceparent,
        requested_at=requested_at,
        created_at=now,
    )
    return int(connection.execute(row).lastrowid)


def get(connection: Connection, job_id: str) -> Job:
    """Return the ingest job with this id, or raise NotFound."""
    row = connection.execute(INGESTS.where(schema.jobs.c.id == job_id)).one_or_none()
    if row is None:
        raise NotFound(f"no job '{job_id[:60]}'; `qasir jobs list` or GET /v1/jobs lists them")
    return job_of(row)


def newest_of(connection: Connection, video_id: str) -> Job:
    """Return the newest ingest job of a video; every video has one."""
    jobs = INGESTS.where(schema.jobs.c.video_id == video_id)
    return job_of(connection.execute(jobs.order_by(schema.jobs.c.number.desc()).limit(1)).one())


def counts(connection: Connection) -> dict[JobState, int]:
    """Count the ingest jobs in each state, zeros included."""
    query = INGESTS.with_only_columns(schema.jobs.c.state, func.count())
    query = query.group_by(schema.jobs.c.state)
    counted = {row[0]: int(row[1]) for row in connection.execute(query)}
    return {state: counted.get(state, 0) for state in JOB_STATES}


def set_video_state(connection: Connection, video_id: str, state: JobState) -> None:
    """Give a video the state of its newest job."""
    row = schema.videos.c.id == video_id
    connection.execute(update(schema.videos).where(row).values(state=state))


def job_of(row: Row[Any]) -> Job:
    error = (
        JobError(row.error_code, row.error_detail, row.error_retryable) if row.error_code else None
    )
    columns = {f.name: getattr(row, f.name) for f in fields(Job) if f.name != "error"}
    return Job(**columns, error=error)
