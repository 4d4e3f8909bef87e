"""Searches and embeddings over HTTP."""

import base64
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from qasir.filters import Filter
from qasir.types import Moment
from service.http.schemas.shared import Number, Strict, Whole
from service.search.answers import (
    Embeddings,
    Example,
    FineScored,
    GroupBy,
    Hit,
    Mode,
    Picture,
    SearchAnswer,
    SearchRequest,
    Segment,
)

SEGMENT = ("video_id", "start", "end")
FILTER_EXAMPLE = {
    "duration": {"gte": 60},
    "title": {"contains": "talk"},
    "created_at": {"gte": "2026-01-01T00:00:00Z"},
    "metadata": {"camera": "a", "rating": {"gte": 3}},
}


def _decoded(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("a picture is text, in base64")  # noqa: TRY004  # what pydantic catches
    # Its own message would say nothing of base64; its lenient form would skip what is wrong.
    return base64.b64decode(value, validate=True)


Base64 = Annotated[
    bytes,
    BeforeValidator(_decoded),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]


# The engine refuses an empty text, as one of spaces, in words that people are shown.
QueryText = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1})]


class ExampleIn(Strict):
    """What to search by: a picture, or a stretch [start, end) of an indexed video in seconds.

    `image` is a JPEG, PNG or WebP file, in base64.
    """

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["image"]}, {"required": [*SEGMENT]}]}
    )

    image: Base64 | None = None
    video_id: Annotated[str, Field(max_length=64)] | None = None
    start: Annotated[Number, Field(ge=0)] | None = None
    end: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _is_one_example(self) -> Self:
        self.example()
        return self

    def example(self) -> Example:
        match self.image, self.video_id, self.start, self.end:
            case bytes(image), None, None, None:
                return Picture(image)
            case None, str(video_id), float(start), float(end):
                return Segment(video_id, start, end)
        raise ValueError(f"give an image, or {', '.join(SEGMENT)}")


class SearchIn(Strict):
    """A search by words (`query`), by example, or by both.

    `profile` left out means the active model set, `grid_size` its first; `context_seconds` is
    added on both sides of every moment.
    """

    query: QueryText | None = Field(default=None, examples=["a dog runs on the beach"])
    top_k: Whole = Field(default=10, ge=1)
    offset: Whole = Field(default=0, ge=0)
    mode: Mode = "accurate"
    profile: str | None = Field(default=None, min_length=1, examples=["lite"])
    grid_size: Whole | None = None
    group_by: GroupBy = "video"
    filter: Filter | None = Field(default=None, examples=[FILTER_EXAMPLE])
    example: ExampleIn | None = None
    context_seconds: Number = Field(default=0.0, ge=0)

    def request(self) -> SearchRequest:
        example = None if self.example is None else self.example.example()
        return SearchRequest(**{**self.__dict__, "example": example})


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
    """One result; `score` is a cosine, `score_z` how many standard deviations recall's score of
    the video lies above the mean of every video that was searched."""

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
    """What the search looked through: with a filter, what it let through."""

    videos: int
    seconds: float


class FineOut(BaseModel):
    """Mode hybrid: the fine model, and how many of the `asked` best videos it scored in time."""

    fingerprint: str
    grid_size: int
    scored: int
    asked: int

    @classmethod
    def of(cls, fine: FineScored) -> "FineOut":
        known = {"scored": fine.scored, "asked": fine.asked}
        return cls(fingerprint=fine.spec.fingerprint, grid_size=fine.spec.grid_size, **known)


class SearchOut(BaseModel):
    """Results in order; `generation` changes whenever the same search may answer otherwise.

    `provisional`: a better order was not ready in time; ask again for it.
    """

    results: list[Result]
    searched: Searched
    generation: str
    provisional: bool
    fine: FineOut | None
    mode: Mode
    grid_size: int
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, answer: SearchAnswer) -> "SearchOut":
        return cls(
            results=[Result.of(hit) for hit in answer.hits],
            searched=Searched(videos=answer.searched_videos, seconds=answer.searched_seconds),
            generation=answer.generation,
            provisional=answer.provisional,
            fine=FineOut.of(answer.fine) if answer.fine else None,
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
