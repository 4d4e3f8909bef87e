"""Mode hybrid: the active model ranks the library, the reranker scores the k best again.

    cheap order -> k best -> all have reranker embeddings: their order, the rest behind them
                          -> else: the cheap order at once, marked provisional

The worker builds reranker embeddings in the background; a search never waits for them, and asks
for those that it lacks, so that they come first. Scores of two models are never compared, so a
part of the k is not reordered. A search decodes no video: even a short one takes longer to decode
and encode than a search may last.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import structlog

from qasir.contract.search import RerankerStatus
from qasir.errors import InvalidInput, ModelUnavailable, Overloaded
from qasir.search import rerank_subset, scorer_input
from qasir.types import Float32
from qasir.vectors import VideoVectors
from service.catalogue.backfills import Backfills
from service.models.deployment import ModelVersion, RerankerModel
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.search.index_cache import RecallResult
from service.search.modes import EncodedQuery, Ranking, RunMode, Scorer
from service.search.query_encoder import Texts
from service.search.reranker_vectors import RerankerVectors
from service.settings import Settings

log = structlog.get_logger()


class HybridMode:
    """Runs the mode for one process; safe to share by threads."""

    def __init__(
        self,
        settings: Settings,
        cheap: RunMode,
        scorer: Scorer,
        texts: Texts,
        backfills: Backfills,
        vectors: RerankerVectors,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._cheap = cheap
        self._scorer = scorer
        self._texts = texts
        self._backfills = backfills
        self._vectors = vectors
        self._telemetry = telemetry

    def __call__(self, view: RecallResult, question: EncodedQuery, model: ModelVersion) -> Ranking:
        """Rank by the reranker if the k best videos have its embeddings, else by the cheap model.

        Raises:
            InvalidInput: the active model has no reranker, or the reranker cannot read the query.
            ModelUnavailable, Overloaded: the cheap model is; try again later.
        """
        reranker = _reranker(model)
        _check_readable(question, reranker, model)
        cheap = self._cheap(view, question, model)
        ids = cheap.videos.ids[: min(reranker.k, len(view.found))]
        vectors = self._vectors.held(ids, reranker.spec)
        if self._request([i for i in ids if i not in vectors], reranker):
            return replace(
                cheap, provisional=True, reranker=self._scored(reranker, len(vectors), len(ids))
            )
        try:
            scores = self._scores(question, vectors, reranker, model)
        except (ModelUnavailable, Overloaded) as error:
            # The cheap model has answered: its order is better than none.
            log.info("reranker unavailable", code=error.code, detail=str(error))
            return replace(cheap, provisional=True, reranker=self._scored(reranker, 0, len(ids)))
        scored = self._scored(reranker, len(scores), len(ids))
        return replace(cheap, videos=rerank_subset(cheap.videos, scores), reranker=scored)

    def _request(self, missing: Sequence[str], reranker: RerankerModel) -> bool:
        """Ask the worker for missing embeddings; whether it can still build any of them."""
        if not missing:
            return False
        failed = self._backfills.failed(missing, reranker.spec)
        buildable = [video_id for video_id in missing if video_id not in failed]
        if buildable:
            limit = self._settings.max_reranker_requests
            self._backfills.request(buildable, reranker.spec, limit)
        return bool(buildable)

    def _scores(
        self,
        question: EncodedQuery,
        vectors: Mapping[str, VideoVectors],
        reranker: RerankerModel,
        model: ModelVersion,
    ) -> dict[str, float]:
        if not vectors:
            return {}
        query = self._query(question, reranker, model)
        size, limits, videos = reranker.spec.grid_size, self._settings, list(vectors.values())
        branches = reranker.model.manifest.branches[size]
        places = max(limits.candidates, len(videos))
        packed = scorer_input(query, videos, branches, places, limits.candidate_embeddings)
        version, left = reranker.model.version, question.deadline.left()
        scores = self._scorer.score(version, query, packed, size, deadline=left)
        return dict(zip(vectors, scores[: len(videos)].tolist(), strict=True))

    def _scored(self, reranker: RerankerModel, count: int, candidates: int) -> RerankerStatus:
        self._telemetry.count(metrics.HYBRID_VIDEOS, count, result="scored")
        self._telemetry.count(metrics.HYBRID_VIDEOS, candidates - count, result="missing")
        return RerankerStatus(
            fingerprint=reranker.spec.fingerprint,
            grid_size=reranker.spec.grid_size,
            scored_count=count,
            candidate_count=candidates,
        )

    def _query(
        self, question: EncodedQuery, reranker: RerankerModel, model: ModelVersion
    ) -> Float32:
        if question.text is None or _same_space(reranker, model):
            return question.vector
        texts, deadline = [question.text], question.deadline
        query: Float32 = self._texts.vectors(texts, reranker.model, Stopwatch(), deadline)[0]
        return query


def _reranker(model: ModelVersion) -> RerankerModel:
    if model.reranker is None:
        raise InvalidInput(
            f"model '{model.manifest.name}' has no mode hybrid; use mode accurate, export it with "
            f"serve.hybrid in params.yaml, or activate it with a reranker"
        )
    return model.reranker


def _check_readable(question: EncodedQuery, reranker: RerankerModel, model: ModelVersion) -> None:
    if _same_space(reranker, model) or (question.text and question.example is None):
        return
    raise InvalidInput(
        f"mode hybrid asks model '{reranker.model.manifest.name}', which knows no example of "
        f"model '{model.manifest.name}'; give words alone, or choose mode accurate"
    )


def _same_space(reranker: RerankerModel, model: ModelVersion) -> bool:
    return reranker.spec.fingerprint == model.manifest.fingerprint
