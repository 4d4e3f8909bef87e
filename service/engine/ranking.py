"""From a recall to results: what the scorer says of the best videos, moments in each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from qasir.manifest import Branches
from qasir.moments import moments
from qasir.search import Recalled, ScorerInput, rerank, scorer_input, z_scores
from qasir.triton import VideoScores
from qasir.types import Float32, Moment
from qasir.vectors import VideoVectors
from service.engine.deadline import Deadline
from service.engine.library import View
from service.store.active_model import ActiveModel

MOMENTS_PER_VIDEO = 3


class Scorer(Protocol):
    """The part of `qasir.triton.Triton` that scores candidates."""

    def score(
        self,
        version: int,
        query: Float32,
        candidates: ScorerInput,
        grid_size: int,
        *,
        deadline: float | None = None,
    ) -> VideoScores:
        """A query [D] against C videos in both branches."""


@dataclass(frozen=True)
class Limits:
    """What the scorer is asked at most: C videos, so many units of each in a branch."""

    candidates: int
    units: int


@dataclass(frozen=True)
class Ranked:
    """A video with its score, and what its moments are found from."""

    video_id: str
    score: float
    z: float
    vectors: VideoVectors
    query: Float32
    branches: Branches

    def moments(self) -> list[Moment]:
        """Its best stretches, best first."""
        return moments(self.query, self.vectors, self.branches, MOMENTS_PER_VIDEO)


def rescored(
    view: View,
    query: Float32,
    model: ActiveModel,
    scorer: Scorer,
    limits: Limits,
    deadline: Deadline,
) -> Recalled:
    """The ranking of a recall, its best C videos as the attention scorer orders them."""
    best = [view.vectors[video_id] for video_id in view.recalled.ids[: limits.candidates]]
    if not best:
        return view.recalled
    grid_size = best[0].passport.grid_size
    branches = model.manifest.branches[grid_size]
    packed = scorer_input(query, best, branches, limits.candidates, limits.units)
    answer = scorer.score(model.version, query, packed, grid_size, deadline=deadline.left())
    return rerank(view.recalled, answer.scores[: len(best)])


def ranked(view: View, order: Recalled, query: Float32, branches: Branches) -> list[Ranked]:
    """The viewed videos in this order; z is about the scores of recall, which all videos have."""
    count = len(view.vectors)
    z = dict(zip(view.recalled.ids[:count], z_scores(view.recalled.scores), strict=False))
    return [
        Ranked(video_id, float(score), float(z[video_id]), view.vectors[video_id], query, branches)
        for video_id, score in zip(order.ids[:count], order.scores[:count], strict=True)
    ]


def by_moment(ranked_videos: Sequence[Ranked]) -> list[tuple[float, Ranked, list[Moment]]]:
    """Every moment of every video as an entry of its own, best first."""
    found = [(moment.score, r, [moment]) for r in ranked_videos for moment in r.moments()]
    return sorted(found, key=lambda entry: -entry[0])
