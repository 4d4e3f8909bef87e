"""The worker's loop: claim, ingest, commit; whatever happens to one video, go on."""

import threading
import time
import uuid
from collections.abc import Sequence

import structlog

from qasir.errors import DecoderCrashed, QasirError
from qasir.manifest import EmbeddingSpec
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import JobError
from service.catalogue.queue import Claim
from service.ingest.build import Builder
from service.ingest.encode import EncodedVideo, Encoding, VideoEncoder, write_files
from service.ingest.progress import JobLost, ProgressReporter, Stopping
from service.models.deployment import FindActive
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.observability.tracing import job_span
from service.settings import Settings
from service.storage import checkpoints
from service.storage.checkpoints import Checkpoint
from service.storage.media import MediaStore
from service.storage.orphans import OrphanFolder

# How long a job rests that met a closed door: no Triton, no model, no disk.
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
INGESTS_PER_BUILD = 4

log = structlog.get_logger()


class IngestLoop:
    """Works off the job table, one video at a time."""

    def __init__(
        self,
        settings: Settings,
        catalogue: Catalogue,
        media: MediaStore,
        triton: VideoEncoder,
        active_model: FindActive,
        telemetry: Telemetry,
        stop: threading.Event,
        builder: Builder,
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._media = media
        self._triton = triton
        self._active_model = active_model
        self._telemetry = telemetry
        self._stop = stop
        self._builder = builder
        self._ingests = 0
        self._owner = uuid.uuid4().hex
        self._delay = FIRST_DELAY_SECONDS

    def recover(self) -> None:
        """Take over from a dead worker: queue its jobs again and set its unnamed files aside."""
        catalogue, settings = self._catalogue, self._settings
        abandoned = catalogue.queue.requeue_abandoned(self._owner)
        orphans = OrphanFolder(settings.folders, settings.orphan_days)
        swept = self._media.sweep(catalogue.videos.ids, catalogue.vector_files.all, orphans)
        catalogue.videos.write_sidecars()
        checkpoints.sweep(settings.folders)
        orphans.expire()
        log.info(
            "recovered",
            jobs=len(abandoned),
            uploads=swept.uploads,
            orphans=len(swept.orphans.paths),
        )

    def run(self) -> None:
        """Work until told to stop."""
        while not self._stop.is_set():
            mine = self._catalogue.queue.claim(self._owner)
            if mine is not None:
                self._work(mine)
                self._ingests += 1
            # Uploads go first, and a generation is finished nevertheless.
            if mine is None or self._ingests % INGESTS_PER_BUILD == 0:
                built = self._builder.step()
                if mine is None and not built:
                    self._stop.wait(self._settings.poll_seconds)

    def _work(self, mine: Claim) -> None:
        begin = time.perf_counter()
        if mine.job.attempts == 1 and mine.job.started_at is not None:
            waited = mine.job.started_at - mine.job.created_at
            self._telemetry.observe(metrics.JOB_WAIT_SECONDS, max(0.0, waited))
        with job_span("ingest", mine.traceparent) as span:
            outcome = self._outcome(mine)
            span.set(outcome=outcome, job_id=mine.job.id, video_id=mine.job.video_id)
            log.info(
                "job",
                operation="ingest",
                job_id=mine.job.id,
                video_id=mine.job.video_id,
                outcome=outcome,
                attempt=mine.job.attempts,
                milliseconds=round((time.perf_counter() - begin) * 1000, 2),
            )

    def _outcome(self, mine: Claim) -> str:
        try:
            self._ingest(mine)
        except JobLost:
            self._tidy(mine)
            return "lost"
        except Stopping:
            self._catalogue.queue.release(mine, 0)
            return "given back"
        except QasirError as error:
            return self._put_off(mine, error) if error.retryable else self._fail(mine, error)
        except Exception as error:  # one video's fault must not end the worker
            log.exception("bug", job_id=mine.job.id)
            return self._fail(mine, QasirError(f"{type(error).__name__}: {error}"))
        self._delay = FIRST_DELAY_SECONDS
        return "ready"

    def _ingest(self, mine: Claim) -> None:
        if mine.job.attempts > self._settings.job_attempts:
            raise DecoderCrashed(
                f"the worker died {self._settings.job_attempts} times on this video; re-encode it"
            )
        watch = Stopwatch()
        model = self._active_model()
        course = ProgressReporter(
            lambda so_far: self._catalogue.queue.heartbeat(mine, so_far), self._stop.is_set
        )
        specs = model.manifest.specs
        encoding = Encoding(
            self._settings,
            self._media,
            self._triton,
            model,
            specs,
            self._telemetry,
            self._stop,
        )
        encoded = encoding.run(mine.job.video_id, course)
        course.enter("commit")
        with watch.stage("commit"):
            self._commit(mine, encoded, specs)
        self._checkpoint(mine).clear()
        self._record(encoded, watch)

    def _commit(self, mine: Claim, encoded: EncodedVideo, made: Sequence[EmbeddingSpec]) -> None:
        def is_current() -> bool:
            return self._active_model().manifest.specs == made

        files = write_files(encoded, mine.job.video_id, self._media)
        if self._catalogue.queue.commit(mine, encoded.finished.info, files, is_current):
            return
        if is_current():
            raise JobLost
        # Another generation was activated meanwhile: the job begins again with that one.
        self._tidy(mine)
        raise Stopping

    def _checkpoint(self, mine: Claim) -> Checkpoint:
        return Checkpoint(self._settings.folders, mine.job.video_id)

    def _put_off(self, mine: Claim, error: QasirError) -> str:
        self._catalogue.queue.release(mine, self._delay)
        log.warning("waiting", code=error.code, detail=str(error), seconds=self._delay)
        # Nothing else can be encoded now either: the whole loop rests, not this job alone.
        self._stop.wait(self._delay)
        self._delay = min(LONGEST_DELAY_SECONDS, 2 * self._delay)
        return "put off"

    def _tidy(self, mine: Claim) -> None:
        video_id = mine.job.video_id
        self._checkpoint(mine).clear()
        self._media.tidy(video_id, lambda: self._catalogue.vector_files.of_video(video_id))

    def _fail(self, mine: Claim, error: QasirError) -> str:
        self._tidy(mine)
        if not self._catalogue.queue.fail(mine, JobError(error.code, str(error), error.retryable)):
            # Deleted or cancelled meanwhile: what its files then lack is no failure of theirs.
            return "lost"
        self._telemetry.count(metrics.JOB_FAILURES, code=error.code)
        return error.code

    def _record(self, encoded: EncodedVideo, watch: Stopwatch) -> None:
        finished = encoded.finished
        for grid_size, vectors in encoded.vectors.items():
            stages = {
                "probe": finished.probe_seconds,
                "decode": finished.decode_seconds,
                "tile": finished.tile_seconds[grid_size],
                "encode": encoded.encode_seconds[grid_size],
                "commit": watch.seconds["commit"],
            }
            n = str(grid_size)
            for stage, seconds in stages.items():
                self._telemetry.observe(
                    metrics.INGEST_STAGE_SECONDS, seconds, stage=stage, grid_size=n
                )
            self._telemetry.observe(metrics.INGEST_SECONDS, watch.total, grid_size=n)
            self._telemetry.count(metrics.SUPER_IMAGES, len(vectors.embeddings), grid_size=n)
            indexed = float(vectors.times[vectors.mask].max())
            self._telemetry.count(metrics.VIDEO_SECONDS_INDEXED, indexed, grid_size=n)
