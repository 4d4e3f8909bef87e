"""Ingest jobs."""

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import Field

from qasir.contract.base import Answer, PageRequest

JobState = Literal["queued", "running", "ready", "failed", "cancelled"]
Stage = Literal["probe", "decode", "tile", "encode", "commit"]

# In answers any text is valid: a newer service may know more states and stages.
AnyState = Annotated[str, Field(json_schema_extra={"x-extensible-enum": [*get_args(JobState)]})]
AnyStage = Annotated[str, Field(json_schema_extra={"x-extensible-enum": [*get_args(Stage)]})]


class JobError(Answer):
    """Why a job failed: a code of `qasir.errors`, and whether trying again may help."""

    code: str
    detail: str
    retryable: bool


class Job(Answer):
    """The ingest of one video; `progress` is from 0 to 1."""

    id: str
    video_id: str
    state: AnyState
    stage: AnyStage | None = None
    progress: float = Field(ge=0, le=1)
    eta_seconds: float | None = None
    attempts: int
    error: JobError | None = None
    created_at: datetime
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ListJobsRequest(PageRequest):
    """Which jobs; of one state, or of all."""

    state: JobState | None = None


class JobPage(Answer):
    """Jobs, newest first; `next_page_token` is null on the last page."""

    jobs: list[Job]
    next_page_token: str | None = None
