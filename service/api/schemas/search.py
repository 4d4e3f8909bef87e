"""Searches and embeddings over HTTP."""

from typing import Annotated

from pydantic import BaseModel, Field

from qasir.types import Moment
from service.api.schemas.shared import Strict
from service.engine.answers import Embeddings, GroupBy, Hit, Mode, SearchAnswer, SearchRequest


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
