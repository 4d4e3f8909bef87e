"""What a search asks for and what it answers, before any transport."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from qasir.types import Float32, Moment
from service.store.videos import Video

Mode = Literal["fast", "accurate"]
GroupBy = Literal["video", "moment"]


@dataclass(frozen=True)
class SearchRequest:
    """A query and how to answer it; `grid_size` None: the active profile's first."""

    query: str
    top_k: int = 10
    offset: int = 0
    mode: Mode = "accurate"
    grid_size: int | None = None
    group_by: GroupBy = "video"


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

    `generation` changes whenever the same request could be answered differently;
    `seconds` is by stage, and "total".
    """

    hits: Sequence[Hit]
    grid_size: int
    mode: Mode
    searched_videos: int
    searched_seconds: float
    generation: str
    seconds: Mapping[str, float]


@dataclass(frozen=True)
class Embeddings:
    """Unit vectors float32 [Q, D] of texts, and the fingerprint of what made them."""

    vectors: Float32
    fingerprint: str
