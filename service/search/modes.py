"""The modes of a search: each turns a recall into an order of its videos.

A mode is a function of a view, the question and the model. One whose better order is not ready
gives the best order it has and marks it provisional.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from qasir.contract.search import Example, RerankerStatus
from qasir.search import RankedVideos, ScorerInput, rerank, scorer_input
from qasir.types import Float32
from service.models.deployment import ModelVersion
from service.search.deadline import Deadline
from service.search.index_cache import RecallResult
from service.settings import Settings


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
    ) -> Float32:
        """Scores [C] of a query [D] against C videos, by both branches."""


@dataclass(frozen=True)
class EncodedQuery:
    """What is looked for: a unit vector [D] in the space of a model, the words and the example
    that it was made from, and by when an answer is wanted."""

    vector: Float32
    text: str | None
    example: Example | None
    grid_size: int
    deadline: Deadline


@dataclass(frozen=True)
class Ranking:
    """Every recalled video, best first; `provisional`: a better order is not ready yet."""

    videos: RankedVideos
    provisional: bool = False
    reranker: RerankerStatus | None = None


RunMode = Callable[[RecallResult, EncodedQuery, ModelVersion], Ranking]


def fast(view: RecallResult, question: EncodedQuery, model: ModelVersion) -> Ranking:  # noqa: ARG001 - a RunMode
    """The order of recall."""
    return Ranking(view.recalled)


class Accurate:
    """The best C videos as the attention scorer orders them, by both branches; then the rest."""

    def __init__(self, scorer: Scorer, settings: Settings) -> None:
        self._scorer = scorer
        self._settings = settings

    def __call__(self, view: RecallResult, question: EncodedQuery, model: ModelVersion) -> Ranking:
        """Ask the scorer once.

        Raises:
            ModelUnavailable, Overloaded: try again later.
        """
        limits, size = self._settings, question.grid_size
        best = [view.found[i].vectors for i in view.recalled.ids[: limits.candidates]]
        if not best:
            return Ranking(view.recalled)
        branches, counts = (
            model.manifest.branches[size],
            (limits.candidates, limits.candidate_embeddings),
        )
        packed = scorer_input(question.vector, best, branches, *counts)
        scores = self._scorer.score(
            model.version, question.vector, packed, size, deadline=question.deadline.left()
        )
        return Ranking(rerank(view.recalled, scores[: len(best)]))
