"""From recalled videos to scored ones: attention over each video's super images."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from qasir.moments import moments
from qasir.scoring import attention
from qasir.search import pack, select_units, unpack_attention, z_scores
from qasir.triton import VideoScores
from qasir.types import Float16, Float32, Int64, Moment
from qasir.vectors import VideoVectors
from service.engine.library import View
from service.store.active_model import ActiveModel

MOMENTS_PER_VIDEO = 3
# Requests whose shapes agree share one batch in Triton.
UNIT_BUCKETS = (64, 128, 256, 512, 1024)


class Scorer(Protocol):
    """The part of `qasir.triton.Triton` that scores candidates."""

    def score(
        self,
        version: int,
        query: Float32,
        units: Float16,
        log_weights: Float32,
        *,
        deadline: float | None = None,
    ) -> VideoScores:
        """A query [D] against C videos: units [M, D], log_weights [C, M]."""


@dataclass(frozen=True)
class Ranked:
    """A video with its score; attention and similarities are float32 [S]."""

    video_id: str
    score: float
    z: float
    vectors: VideoVectors
    attention: Float32
    similarities: Float32

    def moments(self) -> list[Moment]:
        """Its best stretches, best first."""
        mask, times = self.vectors.mask, self.vectors.times
        return moments(self.attention, self.similarities, mask, times, MOMENTS_PER_VIDEO)


def by_recall(view: View, query: Float32, tau: float) -> list[Ranked]:
    """The viewed videos in the order of recall, with the attention recall scored them by."""
    recalled = view.recalled
    z = z_scores(recalled.scores)
    result = []
    for place, video_id in enumerate(recalled.ids[: len(view.vectors)]):
        vectors = view.vectors[video_id]
        similarities = vectors.vectors.astype(np.float32) @ query
        weights = attention(similarities, tau)
        score, spread = float(recalled.scores[place]), float(z[place])
        result.append(Ranked(video_id, score, spread, vectors, weights, similarities))
    return result


def rescored(
    ranked: Sequence[Ranked],
    query: Float32,
    model: ActiveModel,
    scorer: Scorer,
    shape: tuple[int, int],
    deadline: float,
) -> list[Ranked]:
    """The same videos as the attention scorer sees and orders them; `shape`: C, units a video."""
    if not ranked:
        return []
    videos, limit = shape
    tau = model.manifest.tau
    candidates = [select_units(query, r.vectors.vectors, tau, limit) for r in ranked]
    total = sum(len(candidate.units) for candidate in candidates)
    units = next((bucket for bucket in UNIT_BUCKETS if bucket >= total), total)
    packed = pack(candidates, videos, units)
    answer = scorer.score(model.version, query, packed.units, packed.log_weights, deadline=deadline)
    weights = unpack_attention(answer.attention, candidates)
    seen = [
        replace(
            r, score=float(score), attention=_spread(unit_weights, c.positions, len(r.attention))
        )
        for r, c, score, unit_weights in zip(
            ranked, candidates, answer.scores[: len(ranked)], weights, strict=True
        )
    ]
    return sorted(seen, key=lambda r: (-r.score, r.video_id))


def by_moment(ranked: Sequence[Ranked]) -> list[tuple[float, Ranked, list[Moment]]]:
    """Every moment of every video as an entry of its own, best first."""
    found = [(moment.score, r, [moment]) for r in ranked for moment in r.moments()]
    return sorted(found, key=lambda entry: -entry[0])


def _spread(weights: Float32, positions: Int64, super_images: int) -> Float32:
    """Attention of units [U] over all super images [S]; the folded rest (-1) has no place."""
    spread = np.zeros(super_images, np.float32)
    spread[positions[positions >= 0]] = weights[positions >= 0]
    return spread
