"""Videos and uploads."""

from datetime import datetime

from pydantic import Field, JsonValue

from qasir.contract.base import Answer, PageRequest, Request
from qasir.contract.jobs import AnyState, Job

Metadata = dict[str, JsonValue]


class ListVideosRequest(PageRequest):
    """Which videos."""


class Video(Answer):
    """One video; duration, size and codec are known once it has been probed.

    Where `indexed_seconds` is well below `duration`, the file is damaged: only this much of it
    could be decoded and is searched.
    """

    id: str
    title: str
    metadata: Metadata = Field(default_factory=dict)
    sha256: str
    bytes: int
    duration: float
    width: int
    height: int
    codec: str
    container: str
    state: AnyState
    created_at: datetime
    indexed_seconds: float


class VideoDetail(Video):
    """One video with its newest job."""

    job: Job


class VideoPage(Answer):
    """Videos, newest first; `next_page_token` is null on the last page.

    `total_count` is how many videos there are on all pages.
    """

    videos: list[Video]
    next_page_token: str | None = None
    total_count: int


class UploadHeader(Request):
    """What precedes the bytes of an upload.

    `filename` names the video where there is no `title`; `expected_bytes` lets the service
    refuse at once what it has no room for.
    """

    filename: str = ""
    title: str | None = None
    metadata: Metadata | None = None
    expected_bytes: int | None = None


class Upload(Answer):
    """An acknowledged upload: it will be ingested, whatever crashes from here on.

    `existing`: the same bytes were uploaded before, and the video keeps its id. `updated`: this
    upload's title or metadata replaced those of the existing video.
    """

    video_id: str
    job_id: str
    state: AnyState
    existing: bool = False
    updated: bool = False
