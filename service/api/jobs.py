"""Routes of ingest jobs."""

from typing import Annotated

from fastapi import APIRouter, Query

from service.api.context import Given
from service.api.schemas.jobs import JobOut, JobPage
from service.store.jobs import JobState

router = APIRouter(prefix="/v1/jobs", tags=["jobs"])


@router.get("", response_model=JobPage)
async def list_jobs(
    context: Given,
    offset: Annotated[int, Query(ge=0, le=2**31)] = 0,
    limit: Annotated[int, Query(ge=1)] = 50,
    state: JobState | None = None,
) -> JobPage:
    """Jobs, newest first; of one state, or of all."""
    context.check_page(limit)
    jobs = await context.read(lambda: context.core.videos.jobs(offset, limit, state))
    return JobPage(jobs=[JobOut.of(job) for job in jobs], offset=offset, limit=limit)


@router.get("/{job_id}", response_model=JobOut)
async def get_job(job_id: str, context: Given) -> JobOut:
    """One job: its state, stage and progress, or why it failed."""
    return JobOut.of(await context.read(lambda: context.core.videos.job(job_id)))
