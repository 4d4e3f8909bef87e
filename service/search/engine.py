"""A search, top to bottom: encode -> recall -> rerank -> hydrate.

SearchRequest -> EncodedQuery -> RecallResult -> Ranking -> Hits -> SearchResponse
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from qasir import types
from qasir.contract.search import (
    Attention,
    EmbedResponse,
    GetAttentionRequest,
    Searched,
    SearchRequest,
    SearchResponse,
    SearchResult,
    VideoReference,
)
from qasir.errors import InvalidInput, UnsupportedGrid, UnsupportedModel
from qasir.manifest import EmbeddingSpec, ScoreFusion
from qasir.moments import moments, padded
from qasir.search import RankedVideos
from qasir.types import Float32
from service.catalogue.videos import Video
from service.models.deployment import FindActive, ModelVersion
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.search.attention import MOMENTS_PER_VIDEO, attend, shown_moment
from service.search.deadline import Deadline
from service.search.index_cache import IndexCache, RecallResult
from service.search.query_encoder import QueryEncoder
from service.search.reranker import CandidateRanker, Ranking
from service.settings import SearchSettings

MAX_TEXTS = 64


@dataclass(frozen=True)
class Hit:
    """A ranked video with the moments to show; `z` is the z-score of its recall score."""

    video_id: str
    score: float
    z: float
    moments: Sequence[types.Moment]


class SearchEngine:
    """Answers searches with the active model; safe to share by threads."""

    def __init__(
        self,
        encoder: QueryEncoder,
        index: IndexCache,
        ranker: CandidateRanker,
        find_active: FindActive,
        telemetry: Telemetry,
        settings: SearchSettings,
    ) -> None:
        self.index = index
        self._encoder = encoder
        self._ranker = ranker
        self._find_active = find_active
        self._telemetry = telemetry
        self._settings = settings

    def search(
        self,
        request: SearchRequest,
        queued_seconds: float = 0.0,
        deadline: Deadline | None = None,
    ) -> SearchResponse:
        """Answer one search, by its caller's deadline or by the service's own.

        Raises:
            InvalidInput, QueryTooLong, UnsupportedModel, UnsupportedGrid: the request is outside
                its limits.
            NotFound, UnsupportedMedia, UploadTooLarge: its example is.
            ModelUnavailable, Overloaded: try again later.
        """
        watch = Stopwatch()
        watch.seconds["queue"] = queued_seconds
        deadline = deadline or Deadline(self._settings.search_seconds)
        self._check(request)
        model = self._find_active()
        _check_model(model, request.model)
        spec = _spec(model, request.grid_size)
        fusion, block = model.manifest.branches[spec.grid_size], self._settings.candidates
        query = self._encoder.encode(request, model, spec, deadline, watch)
        with watch.stage("recall"):
            # Whole blocks, so that no page depends on which one was asked for.
            count = -(-(request.offset + request.top_k) // block) * block
            found = self.index.search(model.manifest, spec, query.vector, count, request.filter)
        with watch.stage("score"):
            ranking = self._ranker.rank(request.mode, found, query, model, spec, deadline)
        with watch.stage("hydrate"):
            hits = page(found, ranking.videos, query.vector, fusion, request, block)
            videos = self.index.videos([hit.video_id for hit in hits])
            results = [
                _result(hit, videos[hit.video_id], rank, request.context_seconds)
                for rank, hit in enumerate(hits, request.offset + 1)
                # Deleted since the index was searched.
                if hit.video_id in videos
            ]
        return SearchResponse(
            results=results,
            searched=Searched(video_count=found.recall.count, seconds=found.recall.seconds),
            snapshot=_snapshot(spec, model, found, ranking),
            provisional=ranking.provisional,
            reranker=ranking.reranker,
            mode=request.mode,
            grid_size=spec.grid_size,
            timings_ms=self._record(watch, request, spec),
        )

    def attention(
        self, request: GetAttentionRequest, video_id: str, deadline: Deadline | None = None
    ) -> Attention:
        """Explain how the attention of a query lies over one video.

        Raises:
            NotFound: the video is not indexed.
            InvalidInput, QueryTooLong, UnsupportedGrid, ModelUnavailable, Overloaded: as `search`.
        """
        self._encoder.check(request)
        deadline = deadline or Deadline(self._settings.search_seconds)
        model = self._find_active()
        spec = _spec(model, request.grid_size)
        query = self._encoder.encode(request, model, spec, deadline, Stopwatch())
        video = self.index.get(model.manifest, spec, video_id)
        fusion = model.manifest.branches[spec.grid_size]
        return attend(query.vector, video_id, video, fusion)

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> EmbedResponse:
        """Encode texts in the space of the active model.

        Raises:
            InvalidInput, QueryTooLong: too many texts, an empty or a long one.
            ModelUnavailable: try again later.
        """
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise InvalidInput(f"{len(texts)} texts: send 1 to {MAX_TEXTS} at a time")
        model = self._find_active()
        cleaned = [self._encoder.clean(text) for text in texts]
        deadline = deadline or Deadline(self._settings.search_seconds)
        vectors = self._encoder.encode_texts(cleaned, model, deadline, Stopwatch())
        return EmbedResponse(
            vectors=vectors.tolist(),
            dim=vectors.shape[1],
            fingerprint=model.manifest.fingerprint,
        )

    def load(self) -> int:
        """Load the indexes of the active model and count their videos."""
        return self.load_all([self._find_active()])

    def load_all(self, models: Sequence[ModelVersion]) -> int:
        """Load the indexes of these models, in the end drop all others, and count the videos."""
        count = 0
        for model in models:
            self._encoder.load(model)
            for spec in model.manifest.specs:
                count = max(count, self.index.load(model.manifest, spec))
        self.index.retain({spec for model in models for spec in model.manifest.specs})
        return count

    def reconcile(self, models: Sequence[ModelVersion]) -> None:
        """Load these models' indexes, the active one first, and report what cannot be read."""
        self.load_all(models)
        self.index.report_unreadable(models[0].manifest.specs)

    def _check(self, request: SearchRequest) -> None:
        self._encoder.check(request)
        limits = self._settings
        if not 1 <= request.top_k <= limits.max_top_k:
            raise InvalidInput(f"top_k {request.top_k}: ask for 1 to {limits.max_top_k} results")
        if not 0 <= request.offset <= limits.max_offset:
            raise InvalidInput(f"offset {request.offset}: pages begin at 0 to {limits.max_offset}")
        if not 0 <= request.context_seconds <= limits.max_context_seconds:
            raise InvalidInput(
                f"context_seconds {request.context_seconds}: ask for 0 to "
                f"{limits.max_context_seconds:g} s on either side"
            )

    def _record(
        self, watch: Stopwatch, request: SearchRequest, spec: EmbeddingSpec
    ) -> dict[str, float]:
        """Record how long a search and its stages took; in milliseconds by stage."""
        grid_size, total = str(spec.grid_size), watch.total + watch.seconds["queue"]
        for stage, seconds in watch.seconds.items():
            # Mode fast does not score: its zeros would hide how long scoring takes.
            if (stage, request.mode) != ("score", "fast"):
                self._telemetry.observe(
                    metrics.SEARCH_STAGE_SECONDS, seconds, stage=stage, grid_size=grid_size
                )
        self._telemetry.observe(
            metrics.SEARCH_SECONDS, total, mode=request.mode, grid_size=grid_size
        )
        seconds_by_stage = {**watch.seconds, "total": total}
        return {stage: round(seconds * 1000, 3) for stage, seconds in seconds_by_stage.items()}


def page(
    found: RecallResult,
    ranking: RankedVideos,
    query: Float32,
    fusion: ScoreFusion,
    request: SearchRequest,
    block: int,
) -> list[Hit]:
    """Return the hits [offset, offset + top_k) of a ranking, by video or by moment."""
    count, begin, end = len(ranking.ids), request.offset, request.offset + request.top_k
    z = dict(zip(found.recall.ids, found.recall.z_scores.tolist(), strict=True))

    def hit(video_id: str, score: float) -> Hit:
        shown = moments(query, found.vectors[video_id], fusion, MOMENTS_PER_VIDEO)
        return Hit(video_id, score, z[video_id], shown)

    ranked = list(zip(ranking.ids, ranking.scores.tolist(), strict=True))
    if request.group_by == "video":
        return [hit(*each) for each in ranked[begin:end]]
    blocks = ([hit(*each) for each in ranked[i : i + block]] for i in range(0, count, block))
    return list(islice(_by_moment(blocks), begin, end))


def _by_moment(blocks: Iterator[list[Hit]]) -> Iterator[Hit]:
    """Split hits into one for each moment: best first within a block, block by block.

    Best first over all videos, a page would need the moments of every video, or change the order of
    the page before it.
    """
    for hits in blocks:
        split = [replace(hit, score=m.score, moments=[m]) for hit in hits for m in hit.moments]
        yield from sorted(split, key=lambda hit: -hit.score)


def _result(hit: Hit, video: Video, rank: int, context_seconds: float) -> SearchResult:
    shown = [padded(moment, context_seconds, video.duration) for moment in hit.moments]
    return SearchResult(
        rank=rank,
        score=hit.score,
        score_z=hit.z,
        video=VideoReference.of(video),
        moments=[shown_moment(moment, video.id) for moment in shown],
    )


def _snapshot(
    spec: EmbeddingSpec, model: ModelVersion, found: RecallResult, ranking: Ranking
) -> str:
    snapshot = f"{spec.fingerprint}.{model.version}.{found.change_number}"
    if ranking.reranker is None:
        return snapshot
    # A provisional page and the next one, which is not, belong to two orders.
    return f"{snapshot}.{ranking.reranker.fingerprint}.{ranking.reranker.scored_count}"


def _check_model(model: ModelVersion, requested: str | None) -> None:
    name = model.manifest.name
    served = (name, f"{name}@{model.version}")
    if requested is not None and requested not in served:
        raise UnsupportedModel(f"model '{requested[:100]}' is not served; served is '{served[1]}'")


def _spec(model: ModelVersion, grid_size: int | None) -> EmbeddingSpec:
    served = model.manifest.profile.grid_sizes
    if grid_size is not None and grid_size not in served:
        raise UnsupportedGrid(
            f"grid size {grid_size} is not indexed; this service serves {list(served)}"
        )
    return model.manifest.spec(served[0] if grid_size is None else grid_size)
