"""Routes of ingest jobs, and a job's changes as they happen.

    queued -> running -> ready
       |         |-----> failed ----+
       +---------+-----> cancelled -+--> retry: a new job of the same video

A job ends once and stays as it ended. All processes report the same, read from the catalogue.
"""

import time
from collections.abc import AsyncIterator
from contextlib import suppress
from http import HTTPStatus
from typing import Annotated

import anyio
import anyio.to_thread
from fastapi import APIRouter, Header, Query, Response
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from qasir.contract.jobs import Job, JobPage, ListJobsRequest
from qasir.errors import Conflict, NotFound
from service.http.accept import check_queue
from service.http.context import JOB_KEY, Context, ContextDep, read_token, write_token
from service.http.openapi import Responses, documented
from service.observability.tracing import traceparent

# No stream lasts longer: a client that still waits connects again.
WATCH_SECONDS = 1800.0
# Proxies keep a quiet stream open, and the service notices clients that have gone.
HEARTBEAT_SECONDS = 10
# A client that takes nothing for this long has gone without closing the connection.
SEND_SECONDS = 30.0
RECONNECT_MILLISECONDS = 1000

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=documented())

EVENTS: Responses = {
    HTTPStatus.OK.value: {
        "description": "Events named `job`, whose data is a job.",
        "content": {"text/event-stream": {}},
    },
    HTTPStatus.NO_CONTENT.value: {"description": "`Last-Event-ID` was the job's last event."},
}


@router.get("")
async def list_jobs(context: ContextDep, request: Annotated[ListJobsRequest, Query()]) -> JobPage:
    """List jobs, newest first; of one state, or of all."""
    context.check_page(request.limit)
    before = read_token(JOB_KEY, request.page_token)
    jobs = context.core.catalogue.jobs
    page = await context.read(lambda: jobs.page(request.limit, before, request.state))
    rows = [Job.of(row) for row in page.rows]
    return JobPage(jobs=rows, next_page_token=write_token(page.next_key))


@router.get("/{job_id}", responses=documented(NotFound))
async def get_job(job_id: str, context: ContextDep) -> Job:
    """Get one job: its state, stage and progress, or why it failed."""
    return Job.of(await context.read(lambda: context.core.catalogue.jobs.get(job_id)))


@router.get("/{job_id}/events", response_class=Response, responses=EVENTS | documented(NotFound))
async def watch_job(
    job_id: str, context: ContextDep, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """Stream the job as it is now, and again at each change, until it ends."""
    job = await context.read(lambda: context.core.catalogue.jobs.get(job_id))
    if job.ended and last_event_id == job.state:
        # It tells a browser's EventSource, which reconnects after every end, to stop.
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return JobEvents(job_id, context)


@router.post("/{job_id}/cancel", responses=documented(NotFound, Conflict))
async def cancel_job(job_id: str, context: ContextDep) -> Job:
    """Cancel a job that has not ended. Its video stays: retry the job, or delete the video.

    A cancelled job stays cancelled. The worker drops the job within a second, and nothing of it
    becomes searchable.
    """
    return Job.of(await context.read(lambda: context.core.catalogue.jobs.cancel(job_id)))


@router.post(
    "/{job_id}/retry", status_code=HTTPStatus.ACCEPTED, responses=documented(NotFound, Conflict)
)
async def retry_job(job_id: str, context: ContextDep) -> Job:
    """Queue a new job for the video of a failed or cancelled one."""

    def retry() -> Job:
        check_queue(context.core)
        return Job.of(context.core.catalogue.jobs.retry(job_id, traceparent()))

    return await context.read(retry)


async def watch(
    job_id: str, context: Context, seconds: float = WATCH_SECONDS
) -> AsyncIterator[Job]:
    """Yield the job as it is now, then each time it changes, until it has ended.

    It stops earlier after `seconds`, and when this process stops: a client that reconnects is
    served by another process.

    Raises:
        NotFound: there is none with this id, or its video was deleted meanwhile.
    """
    core, previous, deadline = context.core, None, time.monotonic() + seconds
    while True:
        row = await anyio.to_thread.run_sync(core.catalogue.jobs.get, job_id)
        if row != previous:
            yield Job.of(row)
        if row.ended or core.readiness.withdrawn or time.monotonic() > deadline:
            return
        previous = row
        await anyio.sleep(core.settings.poll_seconds)


class JobEvents(EventSourceResponse):
    """One event named `job` for each change; its id is the job's state."""

    def __init__(self, job_id: str, context: Context) -> None:
        super().__init__(
            _events(job_id, context), ping=HEARTBEAT_SECONDS, send_timeout=SEND_SECONDS
        )
        self._streams = context.streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream.

        Raises:
            Overloaded: too many are under way.
        """
        with self._streams.acquire():
            await super().__call__(scope, receive, send)


async def _events(job_id: str, context: Context) -> AsyncIterator[ServerSentEvent]:
    # If the video is deleted meanwhile, the stream ends; a client that reconnects gets 404.
    with suppress(NotFound):
        async for job in watch(job_id, context):
            yield ServerSentEvent(
                job.model_dump_json(), event="job", id=job.state, retry=RECONNECT_MILLISECONDS
            )
