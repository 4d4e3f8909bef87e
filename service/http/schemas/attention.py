"""A query's attention over one video, over HTTP."""

from pydantic import BaseModel, Field

from service.http.schemas.search import ExampleIn, MomentOut, QueryText
from service.http.schemas.shared import Strict, Whole
from service.search.answers import SearchRequest
from service.search.attention import Attention

# Attention is a share of one: finer than this nobody sees, and an hour has 3,600 of them.
DIGITS = 6


class AttentionIn(Strict):
    """What was looked for, as a search says it: by words (`query`), by example, or by both."""

    query: QueryText | None = Field(default=None, examples=["a dog runs on the beach"])
    example: ExampleIn | None = None
    grid_size: Whole | None = None

    def request(self) -> SearchRequest:
        example = None if self.example is None else self.example.example()
        return SearchRequest(query=self.query, example=example, grid_size=self.grid_size)


class AttentionOut(BaseModel):
    """How a query's attention lies over the sampled frames of a video, in order of time.

    `starts` and `ends` are in seconds, `weights` add up to 1. Frame f is cell f mod N² of super
    image f div N², where N is `grid_size`.
    """

    video_id: str
    grid_size: int
    super_images: int
    starts: list[float]
    ends: list[float]
    weights: list[float]
    moments: list[MomentOut]

    @classmethod
    def of(cls, found: Attention, video_id: str) -> "AttentionOut":
        starts, ends = found.times.round(3).T.tolist()
        return cls(
            video_id=video_id,
            grid_size=found.grid_size,
            super_images=found.super_images,
            starts=starts,
            ends=ends,
            weights=[round(weight, DIGITS) for weight in found.weights.tolist()],
            moments=[MomentOut.of(moment, video_id) for moment in found.moments],
        )
