"""The HTTP contract as pydantic models; times are ISO 8601 in UTC, durations in seconds."""

from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from qasir.types import Moment
from service.engine.answers import Embeddings, GroupBy, Hit, Mode, SearchAnswer, SearchRequest
from service.store.catalogue import Accepted
from service.store.jobs import Job, JobState, Stage
from service.store.videos import Video, VideoState


class Strict(BaseModel):
    """A request that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FieldError(BaseModel):
    """One field that is wrong."""

    field: str
    message: str


class Problem(BaseModel):
    """An error; `code` is stable, `retryable` says whether the same request may succeed later."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool
    errors: list[FieldError]


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
        times = {name: _time(getattr(job, name)) for name in ("started", "finished")}
        known = {**job.__dict__, "error": error, "created": _time(job.created), **times}
        return cls(**known)


class JobPage(BaseModel):
    """Jobs, newest first."""

    jobs: list[JobOut]
    offset: int
    limit: int


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
        return cls(**{**video.__dict__, "created": _time(video.created)})


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


class SearchIn(Strict):
    """A search; `grid_size` left out means the served profile's first."""

    query: str = Field(min_length=1, examples=["a dog runs on the beach"])
    top_k: int = Field(default=10, ge=1)
    offset: int = Field(default=0, ge=0)
    mode: Mode = "accurate"
    grid_size: int | None = None
    group_by: GroupBy = "video"

    def request(self) -> SearchRequest:
        return SearchRequest(**self.__dict__)


class MomentOut(BaseModel):
    """A stretch [start, end) of the video, and where in a super image its strongest frame is."""

    start: float
    end: float
    score: float
    super_image: int
    cell: int | None
    thumbnail_url: str

    @classmethod
    def of(cls, moment: Moment, video_id: str) -> "MomentOut":
        known = {name: value for name, value in moment.__dict__.items() if name != "peak"}
        url = f"/v1/videos/{video_id}/thumbnail?t={moment.peak:.2f}"
        return cls(**known, thumbnail_url=url)


class VideoRef(BaseModel):
    """The video of a result."""

    id: str
    title: str
    duration: float


class Result(BaseModel):
    """One result; `score` is a cosine, `score_z` its distance from this query's mean score."""

    rank: int
    score: float
    score_z: float
    video: VideoRef
    moments: list[MomentOut]

    @classmethod
    def of(cls, hit: Hit) -> "Result":
        video = VideoRef(id=hit.video.id, title=hit.video.title, duration=hit.video.duration)
        moments = [MomentOut.of(moment, hit.video.id) for moment in hit.moments]
        return cls(
            rank=hit.rank, score=hit.score, score_z=hit.score_z, video=video, moments=moments
        )


class Searched(BaseModel):
    """What the search looked through."""

    videos: int
    seconds: float


class SearchOut(BaseModel):
    """Results in order; `generation` changes whenever the same search may answer otherwise."""

    results: list[Result]
    searched: Searched
    generation: str
    mode: Mode
    grid_size: int
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, answer: SearchAnswer) -> "SearchOut":
        return cls(
            results=[Result.of(hit) for hit in answer.hits],
            searched=Searched(videos=answer.searched_videos, seconds=answer.searched_seconds),
            generation=answer.generation,
            mode=answer.mode,
            grid_size=answer.grid_size,
            timings_ms={stage: round(s * 1000, 3) for stage, s in answer.seconds.items()},
        )


class EmbedIn(Strict):
    """Texts to embed."""

    texts: Annotated[list[str], Field(min_length=1, examples=[["a dog runs on the beach"]])]


class EmbedOut(BaseModel):
    """One unit vector per text, in the space of model `fingerprint`."""

    vectors: list[list[float]]
    dim: int
    fingerprint: str

    @classmethod
    def of(cls, found: Embeddings) -> "EmbedOut":
        dim = found.vectors.shape[1]
        return cls(vectors=found.vectors.tolist(), dim=dim, fingerprint=found.fingerprint)


def _time(seconds: float | None) -> datetime | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)
