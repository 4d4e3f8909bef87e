"""Mode hybrid: a cheap model ranks everything, a fine one scores the k best again.

    cheap order -> k best -> fine vectors: made before | by `match` now | by the worker, soon
                          -> all scored in time: their order, the rest behind it
                          -> else: the cheap order, marked provisional

Scores of the two models are never compared, so there is no half of a new order. Encodings of a
cold query: k videos by the fine model, on top of the library's by the cheap one.
"""

import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import structlog

from qasir.errors import InvalidInput, ModelUnavailable, Overloaded
from qasir.search import rerank_subset, scorer_input
from qasir.types import Float32
from qasir.vectors import VideoVectors
from service.catalogue.encodings import Encodings
from service.models.active_model import ActiveModel, RerankerModel
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.search.answers import FineScored
from service.search.deadline import Deadline
from service.search.index_cache import RecallResult
from service.search.match import Match
from service.search.modes import EncodedQuery, Ranking, RunMode, Scorer
from service.search.query_encoder import Texts
from service.search.reranker_vectors import RerankerVectors
from service.settings import Settings

LOOK_SECONDS = 0.05
# Of what the caller leaves: the rest is for scoring what has come, and for moments.
PATIENCE = 0.7

log = structlog.get_logger()


@dataclass(frozen=True)
class Asked:
    """One question to the fine model about the k best videos of a cheap order."""

    question: EncodedQuery
    fine: RerankerModel
    ids: tuple[str, ...]
    frames: Mapping[str, int]


class HybridMode:
    """Runs the mode for one process; safe to share by threads."""

    def __init__(
        self,
        settings: Settings,
        cheap: RunMode,
        scorer: Scorer,
        texts: Texts,
        encodings: Encodings,
        vectors: RerankerVectors,
        match: Match,
        telemetry: Telemetry,
    ) -> None:
        self._settings = settings
        self._cheap = cheap
        self._scorer = scorer
        self._texts = texts
        self._encodings = encodings
        self._vectors = vectors
        self._match = match
        self._telemetry = telemetry
        self._matching = ThreadPoolExecutor(settings.parallel_matches, "match")
        self._waiting = threading.Semaphore(settings.waiting_hybrids)

    def __call__(self, view: RecallResult, question: EncodedQuery, model: ActiveModel) -> Ranking:
        """The cheap order with the fine model's say, if it has it in time.

        Raises:
            InvalidInput: the active profile has no such mode, or the fine model no words to read.
            ModelUnavailable, Overloaded: of the cheap model; try again later.
        """
        fine = _fine(model)
        cheap = self._cheap(view, question, model)
        ids = cheap.videos.ids[: min(fine.k, len(view.found))]
        frames = {i: int(view.found[i].vectors.mask.sum()) for i in ids}
        asked = Asked(question, fine, ids, frames)
        try:
            known = self._scores(asked, self._query(question, fine, model))
        except (ModelUnavailable, Overloaded) as error:
            # The cheap model has answered: its order is better than none.
            log.info("fine model away", code=error.code, detail=str(error))
            known = {}
        scored = FineScored(fine.spec, len(known), len(ids))
        self._count(asked, known)
        if len(known) + len(self._failed(asked, known)) < len(ids):
            return replace(cheap, provisional=True, fine=scored)
        return replace(cheap, videos=rerank_subset(cheap.videos, known), fine=scored)

    def _query(self, question: EncodedQuery, fine: RerankerModel, model: ActiveModel) -> Float32:
        if fine.spec.fingerprint == model.manifest.fingerprint:
            return question.vector
        if question.text is None or question.example is not None:
            raise InvalidInput(
                f"mode hybrid asks model '{fine.model.manifest.name}', which knows no example of "
                f"model '{model.manifest.name}'; give words alone, or choose mode accurate"
            )
        texts, deadline = [question.text], question.deadline
        query: Float32 = self._texts.vectors(texts, fine.model, Stopwatch(), deadline)[0]
        return query

    def _scores(self, asked: Asked, query: Float32) -> dict[str, float]:
        """The fine model's scores of those videos that it can say in time."""
        held = self._vectors.held(asked.ids, asked.fine.spec)
        matched: dict[str, float] = {}
        missing = [i for i in asked.ids if i not in held]
        if missing:
            self._encodings.request(missing, asked.fine.spec, self._settings.max_fine_requests)
            matched = self._wait(asked, missing)
            held = self._vectors.held(asked.ids, asked.fine.spec)
        return matched | self._scored(asked, query, held)

    def _wait(self, asked: Asked, missing: Sequence[str]) -> dict[str, float]:
        """Until nothing is missing, or the time is up: what `match` says of it meanwhile."""
        # A few searches may wait; others answer at once, so that all threads never wait.
        if not self._waiting.acquire(blocking=False):
            return {}
        patience = min(self._settings.hybrid_seconds, PATIENCE * asked.question.deadline.left())
        deadline = Deadline(patience)
        running = self._start(asked, missing, deadline)
        try:
            while self._open(asked, missing, running) and deadline.ends > time.monotonic():
                time.sleep(LOOK_SECONDS)
        finally:
            for future in running.values():
                future.cancel()
            self._waiting.release()
            for video_id, future in running.items():
                if future.done() and not future.cancelled() and (error := future.exception()):
                    log.info("not matched", video_id=video_id, detail=str(error))
        return _said(running)

    def _start(
        self, asked: Asked, missing: Sequence[str], deadline: Deadline
    ) -> dict[str, Future[float]]:
        text, fine = asked.question.text, asked.fine
        if text is None or asked.question.example is not None:
            return {}
        tokens = self._texts.tokens(text, fine.model)
        return {
            video_id: self._matching.submit(self._match.score, fine, video_id, tokens, deadline)
            # The worker begins at the best; what both do is done twice.
            for video_id in reversed(missing)
            if self._match.fits(fine, asked.frames[video_id])
        }

    def _open(
        self, asked: Asked, missing: Sequence[str], running: Mapping[str, Future[float]]
    ) -> bool:
        said = _said(running)
        rest = [video_id for video_id in missing if video_id not in said]
        made = self._encodings.files(rest, asked.fine.spec)
        for video_id in made.keys() & running.keys():
            running[video_id].cancel()
        failed = self._encodings.failed(rest, asked.fine.spec)
        return len(made) + len(failed) < len(rest)

    def _scored(
        self, asked: Asked, query: Float32, held: Mapping[str, VideoVectors]
    ) -> dict[str, float]:
        if not held:
            return {}
        fine, left = asked.fine, asked.question.deadline.left()
        size, limits = fine.spec.grid_size, self._settings
        branches = fine.model.manifest.branches[size]
        videos = list(held.values())
        places = max(limits.candidates, len(videos))
        packed = scorer_input(query, videos, branches, places, limits.candidate_units)
        scores = self._scorer.score(fine.model.version, query, packed, size, deadline=left)
        return dict(zip(held, scores[: len(videos)].tolist(), strict=True))

    def _failed(self, asked: Asked, known: Mapping[str, float]) -> set[str]:
        rest = [video_id for video_id in asked.ids if video_id not in known]
        return self._encodings.failed(rest, asked.fine.spec)

    def _count(self, asked: Asked, known: Mapping[str, float]) -> None:
        self._telemetry.count(metrics.HYBRID_VIDEOS, len(known), result="scored")
        missing = len(asked.ids) - len(known)
        self._telemetry.count(metrics.HYBRID_VIDEOS, missing, result="missing")


def _fine(model: ActiveModel) -> RerankerModel:
    if model.fine is None:
        raise InvalidInput(
            f"model '{model.manifest.name}' has no mode hybrid; use mode accurate, export it with "
            f"serve.hybrid in params.yaml, or activate it with a fine generation"
        )
    return model.fine


def _said(running: Mapping[str, "Future[float]"]) -> dict[str, float]:
    """Scores of the calls that have ended well; of the other videos the worker will say."""
    ended = {i: future for i, future in running.items() if future.done() and not future.cancelled()}
    return {i: future.result() for i, future in ended.items() if future.exception() is None}
