"""What the worker encodes beside uploads: videos that a kept generation lacks.

First what searches of mode hybrid have asked for. Then nothing is queued: a step looks for the
oldest ready video without vectors of the active generation, then of the one that is to follow
it, then of the others; a worker that is killed therefore goes on with the video it was at.
"""

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from qasir.errors import QasirError
from qasir.manifest import EmbeddingSpec
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import JobError
from service.ingest.encode import Encoding, VideoEncoder, write_files
from service.ingest.progress import JobLost, ProgressReporter, Stopping
from service.models.deployment import Deployment, FindActive, ModelVersion
from service.models.rollout import Rollout
from service.models.store import ModelStore
from service.observability import metrics
from service.observability.telemetry import Telemetry
from service.observability.tracing import job_span
from service.settings import Settings
from service.storage.checkpoints import Checkpoint
from service.storage.media import MediaStore

# Where there is nothing to do, and nothing has changed, it is not looked for all the time.
REST_SECONDS = 2.0

log = structlog.get_logger()


class BuildEncoder(VideoEncoder, Protocol):
    """The part of `qasir.triton.Triton` that a build needs."""

    def ready(self, version: int | None = None) -> bool:
        """Whether this model set can be asked."""


@dataclass(frozen=True)
class Build:
    """One video to encode with one model, under some of its specs."""

    video_id: str
    model: ModelVersion
    specs: Sequence[EmbeddingSpec]


class Builder:
    """Encodes what generations lack, one video a step."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        media: MediaStore,
        triton: BuildEncoder,
        store: ModelStore,
        active_model: FindActive,
        rollout: Rollout,
        telemetry: Telemetry,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._backfills = catalogue.backfills
        self._media = media
        self._triton = triton
        self._store = store
        self._active_model = active_model
        self._rollout = rollout
        self._telemetry = telemetry
        self._stop = stop
        self._seen: tuple[Deployment, int] | None = None
        self._rest_until = 0.0

    def step(self) -> bool:
        """Encode one video; False: there is none to encode."""
        try:
            active = self._active_model()
        except QasirError:
            # None is active, or another version of qasir wrote it; either way searches say so.
            return False
        if (build := self._requested(active)) is not None:
            self._run(build)
            return True
        now = self._store.deployment(), self._catalogue.changes.number()
        if now == self._seen and time.monotonic() < self._rest_until:
            return False
        build = next(self._builds(now[0]), None)
        if build is not None:
            self._run(build)
            return True
        self._seen, self._rest_until = now, time.monotonic() + REST_SECONDS
        return self._complete(now[0])

    def _requested(self, active: ModelVersion) -> Build | None:
        if active.reranker is None:
            return None
        spec = active.reranker.spec
        video_id = self._backfills.next_requested(spec)
        if video_id is None or not self._triton.ready(active.reranker.model.version):
            return None
        return Build(video_id, active.reranker.model, [spec])

    def _builds(self, deployment: Deployment) -> Iterator[Build]:
        first = (deployment.active, *([deployment.pending] if deployment.pending else []))
        known = {model.version: model for model in self._store.list()}
        for version in dict.fromkeys([*first, *deployment.indexed]):
            if (model := known.get(version)) is None:
                continue
            wanted = model.manifest.specs
            video_id = self._backfills.next_missing(wanted)
            # One that Triton does not serve yet must not keep the others waiting.
            if video_id is not None and self._triton.ready(version):
                held = {file.spec for file in self._catalogue.vector_files.of_video(video_id)}
                yield Build(video_id, model, [p for p in wanted if p not in held])

    def _run(self, build: Build) -> None:
        begin = time.perf_counter()
        if not self._backfills.begin(build.video_id, build.specs, self._settings.job_attempts):
            return
        with job_span("build", None) as span:
            outcome = self._outcome(build)
            span.set(outcome=outcome, video_id=build.video_id)
            self._telemetry.count(metrics.BACKFILLS, result=outcome)
            log.info(
                "job",
                operation="build",
                video_id=build.video_id,
                version=build.model.version,
                outcome=outcome,
                milliseconds=round((time.perf_counter() - begin) * 1000, 2),
            )

    def _outcome(self, build: Build) -> str:
        try:
            self._encode(build)
        except JobLost:
            return "lost"
        except Stopping:
            self._backfills.put_off(build.video_id, build.specs)
            return "put off"
        except QasirError as error:
            if error.retryable:
                self._backfills.put_off(build.video_id, build.specs)
                return "put off"
            return self._fail(build, error)
        except Exception as error:  # one video's fault must not end the worker
            log.exception("bug", video_id=build.video_id)
            return self._fail(build, QasirError(f"{type(error).__name__}: {error}"))
        return "built"

    def _encode(self, build: Build) -> None:
        video_id = build.video_id
        drawn = {
            file.grid_size
            for file in self._catalogue.vector_files.of_video(video_id)
            if file.fps == build.specs[0].fps
        }
        encoding = Encoding(
            self._settings,
            self._media,
            self._triton,
            build.model,
            build.specs,
            self._telemetry,
            self._stop,
            drawn,
        )
        course = ProgressReporter(lambda _: self._exists(video_id), self._stop.is_set)
        encoded = encoding.run(video_id, course)
        files = write_files(encoded, video_id, self._media)
        if not self._backfills.commit(video_id, files):
            self._media.tidy(video_id, lambda: self._catalogue.vector_files.of_video(video_id))
            raise JobLost
        Checkpoint(self._settings.folders, video_id).clear()
        for grid_size, vectors in encoded.vectors.items():
            self._telemetry.count(
                metrics.SUPER_IMAGES, len(vectors.embeddings), grid_size=str(grid_size)
            )

    def _exists(self, video_id: str) -> bool:
        return video_id in self._catalogue.videos.among([video_id])

    def _fail(self, build: Build, error: QasirError) -> str:
        if not self._exists(build.video_id):
            return "lost"
        reason = JobError(error.code, str(error), error.retryable)
        self._backfills.fail(build.video_id, build.specs, reason)
        self._media.tidy(
            build.video_id, lambda: self._catalogue.vector_files.of_video(build.video_id)
        )
        return "failed"

    def _complete(self, deployment: Deployment) -> bool:
        """Activate the generation that was to follow once it is complete; whether it was."""
        if (version := deployment.pending) is None:
            return False
        wanted = self._store.get(version).manifest.specs
        if self._backfills.coverage(wanted).missing:
            return False
        try:
            self._rollout.activate(version)
        except QasirError as error:
            log.info("not activated", version=version, code=error.code, detail=str(error))
            return False
        log.info("activated", version=version)
        return True
