"""Jobs over HTTP."""

from datetime import datetime

from pydantic import BaseModel, Field

from service.catalogue.jobs import Job, JobState, Stage
from service.http.schemas.shared import PageIn, time_of


class JobErrorOut(BaseModel):
    """Why a job failed."""

    code: str
    detail: str
    retryable: bool


class JobOut(BaseModel):
    """The ingest of one video."""

    id: str
    video_id: str
    state: JobState
    stage: Stage | None
    progress: float = Field(ge=0, le=1)
    eta_seconds: float | None
    attempts: int
    error: JobErrorOut | None
    created: datetime
    started: datetime | None
    finished: datetime | None

    @classmethod
    def of(cls, job: Job) -> "JobOut":
        error = job.error and JobErrorOut(**job.error.__dict__)
        times = {name: time_of(getattr(job, name)) for name in ("started", "finished")}
        known = {**job.__dict__, "error": error, "created": time_of(job.created), **times}
        return cls(**known)


class JobsIn(PageIn):
    """Which jobs; of one state, or of all."""

    state: JobState | None = None


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobOut]
    offset: int
    limit: int
