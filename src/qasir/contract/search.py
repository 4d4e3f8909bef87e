"""Search, attention and embedding."""

import base64
from typing import Annotated, Literal, Self

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    WithJsonSchema,
    model_validator,
)

from qasir.contract.base import Answer, Integer, Number, Request
from qasir.filters import Filter

Mode = Literal["fast", "accurate", "hybrid"]
GroupBy = Literal["video", "moment"]

PICTURE = ("image",)
SEGMENT = ("video_id", "start", "end")
FILTER_EXAMPLE = {
    "duration": {"gte": 60},
    "title": {"contains": "talk"},
    "created_at": {"gte": "2026-01-01T00:00:00Z"},
    "metadata": {"camera": "a", "rating": {"gte": 3}},
}


def _decode(value: object) -> bytes:
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str):
        raise ValueError("a picture is text, in base64")  # noqa: TRY004 - pydantic catches these
    # Pydantic's own decoder is lenient, and its message does not name base64.
    return base64.b64decode(value, validate=True)


Base64 = Annotated[
    bytes,
    BeforeValidator(_decode),
    PlainSerializer(lambda value: base64.b64encode(value).decode(), when_used="json"),
    WithJsonSchema({"type": "string", "contentEncoding": "base64"}),
]

# The engine refuses an empty text, as it refuses one of spaces: its message is for people.
QueryText = Annotated[str, WithJsonSchema({"type": "string", "minLength": 1})]


class Example(Request):
    """What to search by: a picture, or a stretch [start, end) of an indexed video in seconds.

    `image` is a JPEG, PNG or WebP file, in base64.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "oneOf": [
                {"required": [*names], "properties": {name: {} for name in names}}
                for names in (PICTURE, SEGMENT)
            ]
        }
    )

    image: Base64 | None = None
    video_id: Annotated[str, Field(max_length=64)] | None = None
    start: Annotated[Number, Field(ge=0)] | None = None
    end: Annotated[Number, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _check_one_kind(self) -> Self:
        segment = [value is not None for value in (self.video_id, self.start, self.end)]
        is_picture = self.image is not None and not any(segment)
        is_segment = self.image is None and all(segment)
        if not (is_picture or is_segment):
            raise ValueError(f"give an image, or {', '.join(SEGMENT)}")
        return self


class SearchRequest(Request):
    """A search by words (`query`), by example, or by both.

    `model` is a name or name@version; left out: the active model. `grid_size` left out: the
    model's first. `context_seconds` pads every moment on both sides.
    """

    query: QueryText | None = Field(default=None, examples=["a dog runs on the beach"])
    top_k: Integer = Field(default=10, ge=1)
    offset: Integer = Field(default=0, ge=0)
    mode: Mode = "accurate"
    model: str | None = Field(default=None, min_length=1, examples=["lite", "lite@2"])
    grid_size: Integer | None = None
    group_by: GroupBy = "video"
    filter: Filter | None = Field(default=None, examples=[FILTER_EXAMPLE])
    example: Example | None = None
    context_seconds: Number = Field(default=0.0, ge=0)


class Moment(Answer):
    """A stretch [start, end) of the video, and where in a super image its strongest frame is."""

    start: float
    end: float
    score: float
    super_image: int
    cell: int | None = None
    thumbnail_url: str


class VideoReference(Answer):
    """The video of a result."""

    id: str
    title: str
    duration: float


class SearchResult(Answer):
    """One result.

    `score` is a cosine. `score_z` is how many standard deviations the recall score of the video
    lies above the mean of all videos searched.
    """

    rank: int
    score: float
    score_z: float
    video: VideoReference
    moments: list[Moment]


class Searched(Answer):
    """How much was searched: the whole library, or what the filter selects of it."""

    video_count: int
    seconds: float


class RerankerStatus(Answer):
    """Mode hybrid: the reranker, and how many of its candidates it scored in time."""

    fingerprint: str
    grid_size: int
    scored_count: int
    candidate_count: int


class SearchResponse(Answer):
    """Results in order.

    `snapshot` changes whenever the same search may answer otherwise. `provisional`: a better
    order was not ready in time; search again to get it.
    """

    results: list[SearchResult]
    searched: Searched
    snapshot: str
    provisional: bool = False
    reranker: RerankerStatus | None = None
    mode: str
    grid_size: int
    timings_ms: dict[str, float]


class GetAttentionRequest(Request):
    """What was searched for, as in a search: by words (`query`), by example, or by both."""

    query: QueryText | None = Field(default=None, examples=["a dog runs on the beach"])
    example: Example | None = None
    grid_size: Integer | None = None


class Attention(Answer):
    """How a query's attention lies over the sampled frames of a video, in order of time.

    `starts` and `ends` are in seconds, `weights` add up to 1. Frame f is cell f mod N² of super
    image f div N², where N is `grid_size`.
    """

    video_id: str
    grid_size: int
    super_image_count: int
    starts: list[float]
    ends: list[float]
    weights: list[float]
    moments: list[Moment]


class EmbedRequest(Request):
    """Texts to embed."""

    texts: Annotated[list[str], Field(min_length=1, examples=[["a dog runs on the beach"]])]


class EmbedResponse(Answer):
    """One unit vector for each text, in the space of model `fingerprint`."""

    vectors: list[list[float]]
    dim: int
    fingerprint: str
