"""Routes of ingest jobs.

    queued -> running -> ready
       |         |-----> failed ----+
       +---------+-----> cancelled -+--> retry: a new job of the same video

A job ends once and stays as it ended. All processes report the same, read from the catalogue.
"""

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from qasir.contract.jobs import Job, JobPage, ListJobsRequest
from qasir.errors import Conflict, NotFound
from service.http.accept import check_queue
from service.http.context import ContextDep
from service.http.job_events import JobEvents
from service.http.openapi import Responses, documented
from service.http.paging import JOB_KEY, read_token, write_token
from service.observability.tracing import traceparent

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
