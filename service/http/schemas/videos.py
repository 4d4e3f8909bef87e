"""Videos and uploads over HTTP."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel

from service.catalogue.videos import Accepted, Video, VideoState
from service.http.schemas.jobs import JobOut
from service.http.schemas.shared import time_of


class VideoOut(BaseModel):
    """One video; duration, size and codec are known once it has been probed.

    Where `indexed_seconds` is well below `duration`, the file is damaged: only so much of it
    could be decoded and is searched.
    """

    id: str
    title: str
    metadata: dict[str, Any]
    sha256: str
    bytes: int
    duration: float
    width: int
    height: int
    codec: str
    container: str
    state: VideoState
    created: datetime
    indexed_seconds: float

    @classmethod
    def of(cls, video: Video) -> "VideoOut":
        fields = dict(video.__dict__)
        fields["created"] = time_of(fields.pop("created_at"))
        return cls(**fields)


class VideoDetail(VideoOut):
    """One video with its newest job."""

    job: JobOut


class VideoPage(BaseModel):
    """Videos, newest first, and how many there are in all."""

    videos: list[VideoOut]
    offset: int
    limit: int
    total: int


class Upload(BaseModel):
    """An acknowledged upload: it will be ingested, whatever crashes from here on."""

    video_id: str
    job_id: str
    state: VideoState

    @classmethod
    def of(cls, accepted: Accepted) -> "Upload":
        video, job = accepted.video, accepted.job
        return cls(video_id=video.id, job_id=job.id, state=video.state)
