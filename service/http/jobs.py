"""Routes of ingest jobs."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Response

from service.http.context import ContextDep
from service.http.job_events import JobEvents
from service.http.schemas.jobs import JobOut, JobPage, JobsIn

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])

EVENTS: dict[int | str, dict[str, Any]] = {
    HTTPStatus.OK.value: {
        "description": "Events named `job`, whose data is a job.",
        "content": {"text/event-stream": {}},
    },
    HTTPStatus.NO_CONTENT.value: {"description": "`Last-Event-ID` was the job's last event."},
}


@router.get("", response_model=JobPage)
async def list_jobs(context: ContextDep, asked: Annotated[JobsIn, Query()]) -> JobPage:
    """Jobs, newest first; of one state, or of all."""
    context.check_page(asked.limit)
    jobs = await context.read(
        lambda: context.core.jobs.list(asked.offset, asked.limit, asked.state)
    )
    return JobPage(jobs=[JobOut.of(job) for job in jobs], offset=asked.offset, limit=asked.limit)


@router.get("/{job_id}", response_model=JobOut)
async def get_job(job_id: str, context: ContextDep) -> JobOut:
    """One job: its state, stage and progress, or why it failed."""
    return JobOut.of(await context.read(lambda: context.core.jobs.get(job_id)))


@router.get("/{job_id}/events", response_class=Response, responses=EVENTS)
async def job_events(
    job_id: str, context: ContextDep, last_event_id: Annotated[str | None, Header()] = None
) -> Response:
    """The job as it is, and again at each change, up to its end."""
    job = await context.read(lambda: context.core.jobs.get(job_id))
    if job.ended and last_event_id == job.state:
        # A browser's EventSource connects again after every end, until it is told this.
        return Response(status_code=HTTPStatus.NO_CONTENT)
    return JobEvents(job_id, context)


@router.post("/{job_id}/cancel", response_model=JobOut)
async def cancel_job(job_id: str, context: ContextDep) -> JobOut:
    """End a job that has not ended. Its video stays: retry the job, or delete the video."""
    return JobOut.of(await context.read(lambda: context.core.jobs.cancel(job_id)))


@router.post("/{job_id}/retry", status_code=HTTPStatus.ACCEPTED, response_model=JobOut)
async def retry_job(job_id: str, context: ContextDep) -> JobOut:
    """Ingest the video of a failed or cancelled job again, as a new job."""
    return JobOut.of(await context.read(lambda: context.core.jobs.retry(job_id)))
