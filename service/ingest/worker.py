"""The worker's loop: claim a job, encode its video, commit; whatever happens to one, go on."""

import threading
import time
import uuid
from collections.abc import Sequence
from functools import partial

import structlog

from qasir.errors import DecoderCrashed, QasirError
from qasir.manifest import EmbeddingSpec
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import JobError
from service.catalogue.queue import Claim
from service.ingest.encode import EncodedVideo, Encoder, EncodeRequest
from service.ingest.progress import JobLost, ProgressReporter, Stopping
from service.ingest.targets import ModelTargets, WorkerModels
from service.models.deployment import ModelVersion
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.observability.tracing import job_span, qasir_attributes
from service.settings import IngestSettings

# How long the worker rests after a temporary outage of Triton, the model or the disk.
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
INGESTS_PER_BACKFILL = 4

log = structlog.get_logger()


class Worker:
    """Works off the queue, one video at a time."""

    def __init__(
        self,
        settings: IngestSettings,
        catalogue: Catalogue,
        encoder: Encoder,
        models: WorkerModels,
        telemetry: Telemetry,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._encoder = encoder
        self._models = models
        self._telemetry = telemetry
        self._stop = stop
        self._ingests = 0
        self._owner = uuid.uuid4().hex
        self._delay = FIRST_DELAY_SECONDS

    def run(self) -> None:
        """Work until told to stop."""
        while not self._stop.is_set():
            if not self.step():
                self._stop.wait(self._settings.poll_seconds)

    def step(self) -> bool:
        """Run one job, or activate a version that is complete; False: there was nothing to do."""
        models = self._models.targets()
        backfill_first = self._ingests >= INGESTS_PER_BACKFILL
        claim = self._catalogue.queue.claim(
            self._owner, models.targets, self._models.is_served, backfill_first=backfill_first
        )
        if claim is None:
            return self._models.activate_pending()
        # Uploads go first, and a model's coverage is completed nevertheless.
        self._ingests = 0 if backfill_first else self._ingests
        self._ingests += claim.job.kind == "ingest"
        self._work(claim, models)
        return True

    def _work(self, claim: Claim, models: ModelTargets) -> None:
        begin, job = time.perf_counter(), claim.job
        if job.kind == "ingest" and job.attempts == 1 and job.started_at is not None:
            waited = max(0.0, job.started_at - job.created_at)
            self._telemetry.observe(metrics.JOB_WAIT_SECONDS, waited)
        with job_span(job.kind, claim.traceparent) as span:
            outcome = self._outcome(claim, models)
            ids = {"job_id": job.id, "video_id": job.video_id}
            span.set_attributes(qasir_attributes(outcome=outcome, **ids))
            log.info(
                "job",
                operation=job.kind,
                job_id=job.id,
                video_id=job.video_id,
                version=claim.target and claim.target.version,
                outcome=outcome,
                attempt=job.attempts,
                milliseconds=round((time.perf_counter() - begin) * 1000, 2),
            )

    def _outcome(self, claim: Claim, models: ModelTargets) -> str:
        try:
            self._run(claim, models)
        except JobLost:
            self._discard(claim)
            return self._count(claim, "lost")
        except Stopping:
            self._catalogue.queue.release(claim, 0)
            return self._count(claim, "put off")
        except QasirError as error:
            return self._put_off(claim, error) if error.retryable else self._fail(claim, error)
        except Exception as error:  # one video's fault must not end the worker
            log.exception("bug", job_id=claim.job.id)
            return self._fail(claim, QasirError(f"{type(error).__name__}: {error}"))
        self._delay = FIRST_DELAY_SECONDS
        return self._count(claim, "ready")

    def _run(self, claim: Claim, models: ModelTargets) -> None:
        if claim.job.attempts > self._settings.job_attempts:
            raise DecoderCrashed(
                f"the worker died {self._settings.job_attempts} times on this video; re-encode it"
            )
        watch, request = Stopwatch(), self._request(claim, models)
        heartbeat = partial(self._catalogue.queue.heartbeat, claim)
        reporter = ProgressReporter(heartbeat, self._stop.is_set)
        encoded = self._encoder.encode(request, reporter)
        reporter.enter("commit")
        with watch.stage("commit"):
            self._commit(claim, request, encoded)
        self._encoder.forget_checkpoint(claim.job.video_id)
        self._record(claim, encoded, watch)

    def _request(self, claim: Claim, models: ModelTargets) -> EncodeRequest:
        video_id, target = claim.job.video_id, claim.target
        model: ModelVersion
        specs: Sequence[EmbeddingSpec]
        if target is None:
            model = self._models.active()
            specs = model.manifest.specs
        else:
            model, specs = models.models[target.version], target.specs
        previewed = {
            file.grid_size
            for file in self._catalogue.vector_files.of_video(video_id)
            if file.fps == specs[0].fps
        }
        return EncodeRequest(video_id, model, specs, previewed)

    def _commit(self, claim: Claim, request: EncodeRequest, encoded: EncodedVideo) -> None:
        def is_current() -> bool:
            return claim.target is not None or self._models.active().manifest.specs == request.specs

        files = self._encoder.write(request.video_id, encoded)
        if self._catalogue.queue.commit(claim, encoded.finished.info, files, is_current):
            return
        if is_current():
            raise JobLost
        # Another version was activated meanwhile: the job begins again with that one.
        self._discard(claim)
        raise Stopping

    def _put_off(self, claim: Claim, error: QasirError) -> str:
        self._catalogue.queue.release(claim, self._delay)
        log.warning("waiting", code=error.code, detail=str(error), seconds=self._delay)
        # Nothing else can be encoded now either: the whole loop rests, not this job alone.
        self._stop.wait(self._delay)
        self._delay = min(LONGEST_DELAY_SECONDS, 2 * self._delay)
        return self._count(claim, "put off")

    def _fail(self, claim: Claim, error: QasirError) -> str:
        self._discard(claim)
        reason = JobError(error.code, str(error), error.retryable)
        if not self._catalogue.queue.fail(claim, reason):
            # Deleted or cancelled meanwhile: what its files then lack is no failure of theirs.
            return self._count(claim, "lost")
        if claim.job.kind == "ingest":
            self._telemetry.count(metrics.JOB_FAILURES, code=error.code)
        self._count(claim, "failed")
        return error.code

    def _discard(self, claim: Claim) -> None:
        video_id, files = claim.job.video_id, self._catalogue.vector_files
        self._encoder.discard(video_id, lambda: files.of_video(video_id))

    def _count(self, claim: Claim, outcome: str) -> str:
        if claim.job.kind == "backfill":
            self._telemetry.count(metrics.BACKFILLS, result=outcome)
        return outcome

    def _record(self, claim: Claim, encoded: EncodedVideo, watch: Stopwatch) -> None:
        for grid_size, vectors in encoded.vectors.items():
            n = str(grid_size)
            self._telemetry.count(metrics.SUPER_IMAGES, len(vectors.super_images), grid_size=n)
            if claim.job.kind == "ingest":
                seconds = float(vectors.times[vectors.mask].max())
                self._telemetry.count(metrics.VIDEO_SECONDS_INDEXED, seconds, grid_size=n)
                self._telemetry.observe(metrics.INGEST_SECONDS, watch.total, grid_size=n)
                self._observe_stages(encoded, watch, grid_size)

    def _observe_stages(self, encoded: EncodedVideo, watch: Stopwatch, grid_size: int) -> None:
        finished = encoded.finished
        stages = {
            "probe": finished.probe_seconds,
            "decode": finished.decode_seconds,
            "tile": finished.tile_seconds[grid_size],
            "encode": encoded.encode_seconds[grid_size],
            "commit": watch.seconds["commit"],
        }
        for stage, seconds in stages.items():
            self._telemetry.observe(
                metrics.INGEST_STAGE_SECONDS, seconds, stage=stage, grid_size=str(grid_size)
            )
