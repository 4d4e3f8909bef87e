"""What the service answers, as a client holds it. Fields that a newer service adds are ignored."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True)
class JobFailure:
    """Why a job failed: a code of `qasir.errors`."""

    code: str
    detail: str
    retryable: bool


@dataclass(frozen=True)
class Job:
    """The ingest of one video: state queued | running | ready | failed | cancelled."""

    id: str
    video_id: str
    state: str
    stage: str | None
    progress: float
    eta_seconds: float | None
    error: JobFailure | None
    attempts: int = 0


@dataclass(frozen=True)
class Video:
    """One video of the library; duration, width and height are 0 until it has been probed.

    `indexed_seconds` is how much of it could be decoded and is searched.
    """

    id: str
    title: str
    state: str
    duration: float
    width: int
    height: int
    codec: str
    bytes: int
    created: datetime
    indexed_seconds: float = 0.0
    metadata: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class VideoDetail(Video):
    """One video with its newest job, which says why it failed if it did."""

    job: Job = field(kw_only=True)


@dataclass(frozen=True)
class Videos:
    """A page of the library, newest first, and how many videos there are in all."""

    videos: list[Video]
    total: int


@dataclass(frozen=True)
class Upload:
    """An acknowledged upload; the same bytes again have the same `video_id`."""

    video_id: str
    job_id: str
    state: str


@dataclass(frozen=True)
class MomentHit:
    """A stretch [start, end) of a video, in seconds; `cell` None: the whole super image."""

    start: float
    end: float
    score: float
    super_image: int
    cell: int | None
    thumbnail_url: str


@dataclass(frozen=True)
class VideoRef:
    """The video of a result."""

    id: str
    title: str
    duration: float


@dataclass(frozen=True)
class Result:
    """One result; `score` is a cosine, `score_z` its distance from this query's mean score."""

    rank: int
    score: float
    score_z: float
    video: VideoRef
    moments: list[MomentHit]


@dataclass(frozen=True)
class Searched:
    """What a search looked through."""

    videos: int
    seconds: float


@dataclass(frozen=True)
class FineScored:
    """Mode hybrid: the fine model, and how many of the `asked` best videos it scored in time."""

    fingerprint: str
    grid_size: int
    scored: int
    asked: int


@dataclass(frozen=True)
class SearchResults:
    """Results, best first; `generation` changes when the same search may answer otherwise.

    `provisional`: a better order was not ready in time; ask again for it.
    """

    results: list[Result]
    searched: Searched
    generation: str
    timings_ms: dict[str, float]
    mode: str = ""
    grid_size: int = 0
    provisional: bool = False
    fine: FineScored | None = None


@dataclass(frozen=True)
class Attention:
    """How a query's attention lies over the F sampled frames of a video, in order of time.

    `starts` and `ends` are in seconds, `weights` add up to 1. Frame f is cell f mod N² of super
    image f div N², where N is `grid_size`.
    """

    video_id: str
    grid_size: int
    super_images: int
    starts: list[float]
    ends: list[float]
    weights: list[float]
    moments: list[MomentHit]


@dataclass(frozen=True)
class Embeddings:
    """One unit vector for each text, `dim` long, in the space of model `fingerprint`."""

    vectors: list[list[float]]
    dim: int
    fingerprint: str


@dataclass(frozen=True)
class HeldVideos:
    """Videos of the library: those a generation holds, and those it could not take."""

    total: int
    done: int
    failed: int


@dataclass(frozen=True)
class Generation:
    """A model set and the vectors made by it.

    state: stored | building | ready | active | previous.
    """

    id: int
    state: str
    model: str
    backbone: str
    variant: str
    fingerprint: str
    grid_sizes: list[int]
    fps: float
    videos: HeldVideos
    created: datetime | None = None
    error: str | None = None
