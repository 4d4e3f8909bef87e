"""A search from text to moments: recall over everything, then the scorer on the best.

text -> Texts -> q -> Library.search -> best C -> attention_scorer -> moments -> titles
"""

from collections.abc import Sequence
from typing import Protocol

from qasir.errors import InvalidInput, UnsupportedGrid
from qasir.manifest import Passport
from service import metrics
from service.engine.answers import Embeddings, Hit, SearchAnswer, SearchRequest
from service.engine.deadline import Deadline
from service.engine.library import Library, View
from service.engine.ranking import Limits, Ranked, Scorer, by_moment, ranked, rescored
from service.engine.texts import TextEncoder, Texts
from service.settings import Settings
from service.store.active_model import ActiveModel, FindActiveModel
from service.store.catalogue import Catalogue
from service.telemetry import Stopwatch, Telemetry

MAX_TEXTS = 64


class SearchModels(TextEncoder, Scorer, Protocol):
    """The parts of `qasir.triton.Triton` that a search needs."""


class SearchEngine:
    """Answers searches with the active model; safe to share by threads."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        library: Library,
        triton: SearchModels,
        active_model: FindActiveModel,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._library = library
        self._triton = triton
        self._active_model = active_model
        self._telemetry = telemetry
        self._texts = Texts(triton, telemetry, settings)
        self._limits = Limits(settings.candidates, settings.candidate_units)

    def search(
        self,
        request: SearchRequest,
        queued_seconds: float = 0.0,
        deadline: Deadline | None = None,
    ) -> SearchAnswer:
        """Answer one search, by the deadline of its caller or by the service's own.

        Raises:
            InvalidInput, QueryTooLong, UnsupportedGrid: the request is outside its limits.
            ModelUnavailable, Overloaded: try again later.
        """
        watch = Stopwatch()
        watch.seconds["queue"] = queued_seconds
        deadline = deadline or Deadline(self._settings.search_seconds)
        text = self._texts.clean(request.query)
        self._check(request)
        model = self._active_model()
        passport = _passport(model, request.grid_size)
        query = self._texts.vectors([text], model, watch, deadline)[0]
        want = max(self._settings.candidates, request.offset + request.top_k)
        with watch.stage("recall"):
            view = self._library.search(model.manifest, passport, query, want)
        with watch.stage("score"):
            order = view.recalled
            if request.mode == "accurate":
                order = rescored(view, query, model, self._triton, self._limits, deadline)
        with watch.stage("hydrate"):
            branches = model.manifest.branches[passport.grid_size]
            hits = self._hits(request, ranked(view, order, query, branches))
        return self._answer(request, model, passport, view, hits, watch)

    def embed(self, texts: Sequence[str], deadline: Deadline | None = None) -> Embeddings:
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
        return Embeddings(vectors, model.manifest.fingerprint)

    def load(self) -> int:
        """Read the library of the active model into memory; how many videos there are."""
        return self.hold([self._active_model()])

    def hold(self, models: Sequence[ActiveModel]) -> int:
        """Have these models' vectors in memory, and in the end no others'; how many videos."""
        count = 0
        for model in models:
            self._texts.load(model)
            for passport in model.manifest.passports:
                count = max(count, self._library.load(model.manifest, passport))
        self._library.keep({p for model in models for p in model.manifest.passports})
        return count

    def _check(self, request: SearchRequest) -> None:
        limits = self._settings
        if not 1 <= request.top_k <= limits.max_top_k:
            raise InvalidInput(f"top_k {request.top_k}: ask for 1 to {limits.max_top_k} results")
        if not 0 <= request.offset <= limits.max_offset:
            raise InvalidInput(f"offset {request.offset}: pages begin at 0 to {limits.max_offset}")

    def _hits(self, request: SearchRequest, videos: Sequence[Ranked]) -> list[Hit]:
        begin, end = request.offset, request.offset + request.top_k
        if request.group_by == "moment":
            chosen = by_moment(videos)[begin:end]
        else:
            chosen = [(r.score, r, r.moments()) for r in videos[begin:end]]
        known = self._catalogue.videos_among(sorted({r.video_id for _, r, _ in chosen}))
        return [
            Hit(begin + place, score, r.z, known[r.video_id], found)
            for place, (score, r, found) in enumerate(chosen, 1)
            if r.video_id in known
        ]

    def _answer(
        self,
        request: SearchRequest,
        model: ActiveModel,
        passport: Passport,
        view: View,
        hits: list[Hit],
        watch: Stopwatch,
    ) -> SearchAnswer:
        n = str(passport.grid_size)
        total = watch.total + watch.seconds["queue"]
        for stage, seconds in watch.seconds.items():
            self._telemetry.observe(metrics.SEARCH_STAGE_SECONDS, seconds, stage=stage, grid_size=n)
        self._telemetry.observe(metrics.SEARCH_SECONDS, total, mode=request.mode, grid_size=n)
        return SearchAnswer(
            hits=hits,
            grid_size=passport.grid_size,
            mode=request.mode,
            searched_videos=view.videos,
            searched_seconds=view.seconds,
            generation=f"{passport.fingerprint}.{model.version}.{view.change_number}",
            seconds={**watch.seconds, "total": total},
        )


def _passport(model: ActiveModel, grid_size: int | None) -> Passport:
    served = model.manifest.profile.grid_sizes
    if grid_size is not None and grid_size not in served:
        raise UnsupportedGrid(
            f"grid size {grid_size} is not indexed; this service serves {list(served)}"
        )
    return model.manifest.passport(served[0] if grid_size is None else grid_size)
