"""What a search asks for and what it answers, before any transport."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from qasir.filters import Filter
from qasir.manifest import EmbeddingSpec
from qasir.types import Float32, Moment
from service.catalogue.videos import Video

Mode = Literal["fast", "accurate", "hybrid"]
GroupBy = Literal["video", "moment"]


@dataclass(frozen=True)
class Picture:
    """The bytes of a picture file, as they came."""

    content: bytes


@dataclass(frozen=True)
class Segment:
    """The stretch [start, end) of an indexed video, in seconds."""

    video_id: str
    start: float
    end: float


Example = Picture | Segment


@dataclass(frozen=True)
class SearchRequest:
    """What to look for, by words, by example or by both, and how to answer.

    `profile` None: the active one; `grid_size` None: that profile's first; `context_seconds` pads
    moments on both sides.
    """

    query: str | None
    top_k: int = 10
    offset: int = 0
    mode: Mode = "accurate"
    profile: str | None = None
    grid_size: int | None = None
    group_by: GroupBy = "video"
    filter: Filter | None = None
    example: Example | None = None
    context_seconds: float = 0.0


@dataclass(frozen=True)
class FineScored:
    """Mode hybrid: how many of the `asked` best videos have embeddings of the spec.

    While `scored` is less than `asked`, the answer keeps the cheap order and is provisional.
    """

    spec: EmbeddingSpec
    scored: int
    asked: int


@dataclass(frozen=True)
class Hit:
    """One result: a video with its best moments, or one moment of a video."""

    rank: int
    score: float
    score_z: float
    video: Video
    moments: Sequence[Moment]


@dataclass(frozen=True)
class SearchAnswer:
    """Hits in order, and what they are an answer about.

    `generation` changes whenever the same request could be answered differently; `seconds` is
    by stage, and "total"; `provisional`: the reranker's order is not ready yet.
    """

    hits: Sequence[Hit]
    grid_size: int
    mode: Mode
    provisional: bool
    fine: FineScored | None
    searched_videos: int
    searched_seconds: float
    generation: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors float32 [Q, D] of texts, and the fingerprint of what made them."""

    vectors: Float32
    fingerprint: str
