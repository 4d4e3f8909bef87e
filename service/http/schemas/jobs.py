"""Jobs over HTTP."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from qasir.contract.jobs import JobState, Stage
from service.catalogue.jobs import Job
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
        times = {n: time_of(getattr(job, f"{n}_at")) for n in ("created", "started", "finished")}
        names = ("id", "video_id", "state", "stage", "progress", "eta_seconds", "attempts")
        known: dict[str, Any] = {name: getattr(job, name) for name in names}
        return cls(**known | times | {"error": error})


class JobsIn(PageIn):
    """Which jobs; of one state, or of all."""

    state: JobState | None = None


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobOut]
    offset: int
    limit: int
