"""A search from words or an example to moments: recall over everything, a mode, a page.

SearchRequest -> EncodedQuery -> RecallResult -> Ranking -> Hits -> SearchResponse
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from qasir.contract.search import (
    Attention,
    EmbedResponse,
    GetAttentionRequest,
    Mode,
    Searched,
    SearchRequest,
    SearchResponse,
)
from qasir.errors import InvalidInput, UnsupportedGrid, UnsupportedModel
from qasir.examples import normalised
from qasir.manifest import EmbeddingSpec
from qasir.types import Float32
from service.catalogue.catalogue import Catalogue
from service.models.deployment import FindActive, ModelVersion
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.search.answers import attention, result
from service.search.attention import attend
from service.search.deadline import Deadline
from service.search.examples import Examples, WindowEncoder
from service.search.index_cache import Library, RecallResult
from service.search.modes import Accurate, EncodedQuery, Ranking, RunMode, Scorer, fast
from service.search.query_encoder import TextEncoder, Texts
from service.search.ranking import Hit, page, ranked, videos_wanted
from service.search.reranker import HybridMode
from service.search.reranker_vectors import RerankerVectors
from service.settings import Settings
from service.storage.media import MediaStore

MAX_TEXTS = 64

Query = SearchRequest | GetAttentionRequest


class SearchModels(TextEncoder, WindowEncoder, Scorer, Protocol):
    """The parts of `qasir.triton.Triton` that a search needs."""


class SearchEngine:
    """Answers searches with the active model; safe to share by threads."""

    def __init__(
        self,
        settings: Settings,
        library: Library,
        catalogue: Catalogue,
        media: MediaStore,
        triton: SearchModels,
        active_model: FindActive,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._library = library
        self._active_model = active_model
        self._telemetry = telemetry
        self._texts = Texts(triton, telemetry, settings)
        self._examples = Examples(triton, library, settings)
        accurate = Accurate(triton, settings)
        hybrid = HybridMode(
            settings,
            accurate,
            triton,
            self._texts,
            catalogue.backfills,
            RerankerVectors(catalogue.vector_files, media),
            telemetry,
        )
        self._modes: dict[Mode, RunMode] = {"fast": fast, "accurate": accurate, "hybrid": hybrid}

    def search(
        self,
        request: SearchRequest,
        queued_seconds: float = 0.0,
        deadline: Deadline | None = None,
    ) -> SearchResponse:
        """Answer one search, by the deadline of its caller or by the service's own.

        Raises:
            InvalidInput, QueryTooLong, UnsupportedModel, UnsupportedGrid: the request is
                outside its limits.
            NotFound, UnsupportedMedia, UploadTooLarge: its example is.
            ModelUnavailable, Overloaded: try again later.
        """
        watch = Stopwatch()
        watch.seconds["queue"] = queued_seconds
        deadline = deadline or Deadline(self._settings.search_seconds)
        self._check(request)
        self._check_page(request)
        text = None if request.query is None else self._texts.clean(request.query)
        model = self._active_model()
        _check_model(model, request.model)
        spec = _spec(model, request.grid_size)
        question = self._question(text, request, model, spec, watch, deadline)
        want = videos_wanted(request, self._settings.candidates)
        with watch.stage("recall"):
            view = self._library.search(model.manifest, spec, question.vector, want, request.filter)
        with watch.stage("score"):
            order = self._modes[request.mode](view, question, model)
        with watch.stage("hydrate"):
            videos, branches = ranked(view, order.videos), model.manifest.branches
            hits = page(
                videos,
                question.vector,
                branches[spec.grid_size],
                request,
                self._settings.candidates,
            )
        return self._answer(request, model, spec, view, order, hits, watch)

    def attention(
        self, request: GetAttentionRequest, video_id: str, deadline: Deadline | None = None
    ) -> Attention:
        """Explain how the attention of a query lies over one video.

        Raises:
            NotFound: the video is not indexed.
            InvalidInput, QueryTooLong, UnsupportedGrid, ModelUnavailable, Overloaded: as `search`.
        """
        deadline = deadline or Deadline(self._settings.search_seconds)
        self._check(request)
        text = None if request.query is None else self._texts.clean(request.query)
        model = self._active_model()
        spec = _spec(model, request.grid_size)
        question = self._question(text, request, model, spec, Stopwatch(), deadline)
        found = self._library.get(model.manifest, spec, video_id)
        branches = model.manifest.branches[spec.grid_size]
        return attention(attend(question.vector, found.vectors, branches), video_id, found.vectors)

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> EmbedResponse:
        """Vectors of texts in the space of the active model.

        Raises:
            InvalidInput, QueryTooLong: too many texts, an empty or a long one.
            ModelUnavailable: try again later.
        """
        if not 1 <= len(texts) <= MAX_TEXTS:
            raise InvalidInput(f"{len(texts)} texts: send 1 to {MAX_TEXTS} at a time")
        model = self._active_model()
        cleaned = [self._texts.clean(text) for text in texts]
        deadline = deadline or Deadline(self._settings.search_seconds)
        vectors = self._texts.vectors(cleaned, model, Stopwatch(), deadline)
        return EmbedResponse(
            vectors=vectors.tolist(),
            dim=vectors.shape[1],
            fingerprint=model.manifest.fingerprint,
        )

    def load(self) -> int:
        """Read the library of the active model into memory; how many videos there are."""
        return self.load_all([self._active_model()])

    def load_all(self, models: Sequence[ModelVersion]) -> int:
        """Have these models' vectors in memory, and in the end no others'; how many videos."""
        count = 0
        for model in models:
            self._texts.load(model)
            for spec in model.manifest.specs:
                count = max(count, self._library.load(model.manifest, spec))
        self._library.keep({p for model in models for p in model.manifest.specs})
        return count

    def _check(self, request: Query) -> None:
        if request.query is None and request.example is None:
            raise InvalidInput("nothing to look for; give a query, an example or both")

    def _check_page(self, request: SearchRequest) -> None:
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

    def _question(
        self,
        text: str | None,
        request: Query,
        model: ModelVersion,
        spec: EmbeddingSpec,
        watch: Stopwatch,
        deadline: Deadline,
    ) -> EncodedQuery:
        vectors: list[Float32] = []
        if text is not None:
            vectors.extend(self._texts.vectors([text], model, watch, deadline))
        if request.example is not None:
            with watch.stage("encode"):
                vectors.append(self._examples.vector(request.example, model, spec, deadline))
        # Words and an example count alike.
        vector = vectors[0] if len(vectors) == 1 else normalised(np.sum(vectors, axis=0))
        return EncodedQuery(vector, text, request.example, spec.grid_size, deadline)

    def _answer(
        self,
        request: SearchRequest,
        model: ModelVersion,
        spec: EmbeddingSpec,
        view: RecallResult,
        order: Ranking,
        hits: list[Hit],
        watch: Stopwatch,
    ) -> SearchResponse:
        n = str(spec.grid_size)
        total = watch.total + watch.seconds["queue"]
        for stage, seconds in watch.seconds.items():
            # Nobody scores in mode fast: its zeros would hide what scoring takes.
            if (stage, request.mode) != ("score", "fast"):
                self._telemetry.observe(
                    metrics.SEARCH_STAGE_SECONDS, seconds, stage=stage, grid_size=n
                )
        self._telemetry.observe(metrics.SEARCH_SECONDS, total, mode=request.mode, grid_size=n)
        spent = {**watch.seconds, "total": total}
        return SearchResponse(
            results=[result(hit) for hit in hits],
            searched=Searched(video_count=view.videos, seconds=view.seconds),
            snapshot=_snapshot(spec, model, view, order),
            provisional=order.provisional,
            reranker=order.reranker,
            mode=request.mode,
            grid_size=spec.grid_size,
            timings_ms={stage: round(seconds * 1000, 3) for stage, seconds in spent.items()},
        )


def _snapshot(spec: EmbeddingSpec, model: ModelVersion, view: RecallResult, order: Ranking) -> str:
    snapshot = f"{spec.fingerprint}.{model.version}.{view.change_number}"
    if order.reranker is None:
        return snapshot
    # A provisional page and the next one, which is not, belong to two orders.
    return f"{snapshot}.{order.reranker.fingerprint}.{order.reranker.scored_count}"


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
