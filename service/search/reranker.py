"""The order of a search's candidates, by mode.

fast      the order of recall
accurate  the scorer orders the C best by both branches, in front of the rest
hybrid    accurate order -> k best -> all have reranker embeddings: the reranker's order of them
                                   -> else: the accurate order at once, marked provisional

The worker builds reranker embeddings in the background; a search never waits for them, and requests
those that it lacks, so that they are built first. Scores of two models are never compared, so a
part of the k is not reordered. A search decodes no video: even a short one takes longer to decode
and encode than a search may last.
"""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import structlog

from qasir.contract.search import Mode, RerankerStatus
from qasir.errors import CorruptArtifact, InvalidInput, ModelUnavailable, Overloaded
from qasir.folding import scorer_input
from qasir.manifest import EmbeddingSpec
from qasir.search import RankedVideos, ScorerInput, rerank, rerank_subset
from qasir.types import Float32
from qasir.vectors import VideoVectors, read_vectors
from service.catalogue.backfills import Backfills
from service.catalogue.vector_files import VectorFiles
from service.models.deployment import ModelVersion, RerankerModel
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.search.deadline import Deadline
from service.search.index_cache import RecallResult
from service.search.query_encoder import EncodedQuery, QueryEncoder
from service.settings import SearchSettings
from service.storage.media import MediaStore

# The best videos of some searches, which are likely to be searched again soon.
CACHED_VIDEOS = 256

log = structlog.get_logger()


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
class Ranking:
    """The recalled videos, best first; `provisional`: the reranker's order is not ready yet."""

    videos: RankedVideos
    provisional: bool = False
    reranker: RerankerStatus | None = None


class CandidateRanker:
    """Ranks the candidates of a recall; safe to share by threads."""

    def __init__(
        self,
        triton: Scorer,
        encoder: QueryEncoder,
        backfills: Backfills,
        embeddings: "RerankerEmbeddings",
        telemetry: Telemetry,
        settings: SearchSettings,
    ) -> None:
        self._triton = triton
        self._encoder = encoder
        self._backfills = backfills
        self._embeddings = embeddings
        self._telemetry = telemetry
        self._settings = settings

    def rank(
        self,
        mode: Mode,
        found: RecallResult,
        query: EncodedQuery,
        model: ModelVersion,
        spec: EmbeddingSpec,
        deadline: Deadline,
    ) -> Ranking:
        """Order the videos of a recall as a mode does.

        Raises:
            InvalidInput: the active model has no reranker, or the reranker cannot read the query.
            ModelUnavailable, Overloaded: try again later.
        """
        recalled = RankedVideos(found.recall.ids, found.recall.scores)
        if mode == "fast":
            return Ranking(recalled)
        reranker = _reranker(query, model) if mode == "hybrid" else None
        ids = recalled.ids[: self._settings.candidates]
        videos = [found.vectors[video_id] for video_id in ids]
        scores = self._score(model, spec, query.vector, videos, deadline)
        cheap = Ranking(rerank(recalled, scores))
        if reranker is None:
            return cheap
        count = min(reranker.k, len(found.vectors))
        return self._rerank(cheap, cheap.videos.ids[:count], query, reranker, model, deadline)

    def _rerank(
        self,
        cheap: Ranking,
        ids: Sequence[str],
        query: EncodedQuery,
        reranker: RerankerModel,
        model: ModelVersion,
        deadline: Deadline,
    ) -> Ranking:
        videos = self._embeddings.read(ids, reranker.spec)
        if self._request([video_id for video_id in ids if video_id not in videos], reranker):
            status = self._status(reranker, len(videos), len(ids))
            return replace(cheap, provisional=True, reranker=status)
        try:
            vector = self._vector(query, reranker, model, deadline)
            scores = self._score(
                reranker.model, reranker.spec, vector, [*videos.values()], deadline
            )
        except (ModelUnavailable, Overloaded) as error:
            # The active model has answered: its order is better than none.
            log.info("reranker unavailable", code=error.code, detail=str(error))
            status = self._status(reranker, 0, len(ids))
            return replace(cheap, provisional=True, reranker=status)
        order = rerank_subset(cheap.videos, dict(zip(videos, scores.tolist(), strict=True)))
        return Ranking(order, reranker=self._status(reranker, len(videos), len(ids)))

    def _request(self, missing: Sequence[str], reranker: RerankerModel) -> bool:
        """Request missing embeddings; whether the worker can still build any of them."""
        if not missing:
            return False
        failed = self._backfills.failed(missing, reranker.spec)
        buildable = [video_id for video_id in missing if video_id not in failed]
        if buildable:
            limit = self._settings.max_reranker_requests
            self._backfills.request(buildable, reranker.spec, limit)
        return bool(buildable)

    def _vector(
        self,
        query: EncodedQuery,
        reranker: RerankerModel,
        model: ModelVersion,
        deadline: Deadline,
    ) -> Float32:
        if query.text is None or _same_space(reranker, model):
            return query.vector
        texts = self._encoder.encode_texts([query.text], reranker.model, deadline, Stopwatch())
        vector: Float32 = texts[0]
        return vector

    def _score(
        self,
        model: ModelVersion,
        spec: EmbeddingSpec,
        query: Float32,
        videos: Sequence[VideoVectors],
        deadline: Deadline,
    ) -> Float32:
        """Score videos [C] in one call."""
        if not videos:
            return np.empty(0, np.float32)
        size, limits = spec.grid_size, self._settings
        places = max(limits.candidates, len(videos))
        fusion = model.manifest.branches[size]
        packed = scorer_input(query, videos, fusion, places, limits.candidate_embeddings)
        scores = self._triton.score(model.version, query, packed, size, deadline=deadline.left())
        return scores[: len(videos)]

    def _status(self, reranker: RerankerModel, scored: int, candidates: int) -> RerankerStatus:
        self._telemetry.count(metrics.HYBRID_VIDEOS, scored, result="scored")
        self._telemetry.count(metrics.HYBRID_VIDEOS, candidates - scored, result="missing")
        return RerankerStatus(
            fingerprint=reranker.spec.fingerprint,
            grid_size=reranker.spec.grid_size,
            scored_count=scored,
            candidate_count=candidates,
        )


class RerankerEmbeddings:
    """Reads and caches reranker embeddings that the worker has built; safe to share by threads."""

    def __init__(self, vector_files: VectorFiles, media: MediaStore) -> None:
        self._vector_files = vector_files
        self._media = media
        self._lock = threading.Lock()
        # By path: a file never changes and its name is never used twice.
        self._videos: OrderedDict[str, VideoVectors] = OrderedDict()

    def read(self, video_ids: Sequence[str], spec: EmbeddingSpec) -> dict[str, VideoVectors]:
        """Read the embeddings of those videos that have some of this spec, as of now."""
        files = self._vector_files.of_spec(spec, video_ids)
        videos = {video_id: self._read(file.path) for video_id, file in files.items()}
        return {video_id: video for video_id, video in videos.items() if video is not None}

    def _read(self, path: str) -> VideoVectors | None:
        with self._lock:
            if path in self._videos:
                self._videos.move_to_end(path)
                return self._videos[path]
        try:
            video = read_vectors(self._media.vectors(path))
        except CorruptArtifact as error:
            # Deleted meanwhile, or damaged and built again: the search goes on without it.
            log.warning("vectors unreadable", detail=str(error))
            self._vector_files.report_unreadable(path, searched=False)
            return None
        with self._lock:
            self._videos[path] = video
            while len(self._videos) > CACHED_VIDEOS:
                self._videos.popitem(last=False)
        return video


def _reranker(query: EncodedQuery, model: ModelVersion) -> RerankerModel:
    name, reranker = model.manifest.name, model.reranker
    if reranker is None:
        raise InvalidInput(
            f"model '{name}' has no mode hybrid; use mode accurate, export it with serve.hybrid in "
            f"params.yaml, or activate it with a reranker"
        )
    if query.text is None and not _same_space(reranker, model):
        raise InvalidInput(
            f"mode hybrid asks model '{reranker.model.manifest.name}', which knows no example of "
            f"model '{name}'; give words alone, or choose mode accurate"
        )
    return reranker


def _same_space(reranker: RerankerModel, model: ModelVersion) -> bool:
    return reranker.spec.fingerprint == model.manifest.fingerprint
