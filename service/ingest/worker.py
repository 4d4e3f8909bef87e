"""The worker's loop: claim a job, encode its video, commit; whatever happens to one, go on."""

import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import structlog

from qasir.errors import CorruptArtifact, DecoderCrashed, QasirError
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import JobError
from service.catalogue.queue import Claim
from service.catalogue.vector_files import VectorFile
from service.ingest.encode import EncodedVideo, Encoder, EncodeRequest
from service.ingest.progress import JobLost, ProgressReporter, Stopping
from service.ingest.targets import WorkerModels
from service.models.deployment import FindActive
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.observability.tracing import job_span, qasir_attributes
from service.settings import IngestSettings
from service.storage import checkpoints
from service.storage.media import MediaStore
from service.storage.orphans import OrphanFolder

# How long the worker rests after a temporary outage of Triton, the model or the disk.
FIRST_DELAY_SECONDS = 1.0
LONGEST_DELAY_SECONDS = 30.0
INGESTS_PER_BACKFILL = 4
# How often it looks again at vector files that a process could not open.
REEXAMINE_SECONDS = 60.0

log = structlog.get_logger()


def recover(
    settings: IngestSettings, catalogue: Catalogue, media: MediaStore, find_active: FindActive
) -> None:
    """Take over from a worker that died: queue abandoned jobs again, set files aside that no row
    names, and drop rows whose file is damaged or missing; only for the holder of the worker lock.

    Raises:
        CorruptArtifact: the catalogue names videos, but media and vectors are empty.
    """
    folders, files = settings.folders, catalogue.vector_files
    count = catalogue.videos.count()
    if count and not any(folders.media.iterdir()) and not any(folders.vectors.iterdir()):
        raise CorruptArtifact(
            f"catalogue {folders.catalogue} names {count} videos, but "
            f"{folders.media} and {folders.vectors} are empty; check QASIR_STATE and its mounts"
        )
    abandoned = catalogue.queue.requeue_abandoned()
    orphans = OrphanFolder(folders, settings.orphan_days)
    swept = media.sweep(catalogue.videos.ids, files.all, orphans)
    catalogue.videos.write_sidecars()
    checkpoints.sweep(folders)
    orphans.expire()
    # Whole archives are read by the searchers, which report what is wrong inside.
    suspects = [file for file in files.all() if not files.looks_whole(file)]
    log.info(
        "recovered",
        jobs=len(abandoned),
        uploads=swept.uploads,
        orphans=len(swept.orphans.paths),
        unreadable=examine(catalogue, find_active, suspects),
    )


def examine(catalogue: Catalogue, find_active: FindActive, files: Sequence[VectorFile]) -> int:
    """Read vector files that a process could not read; count those damaged or missing."""
    try:
        active = find_active().manifest.specs
    except QasirError:
        active = ()
    report = catalogue.vector_files.report_unreadable
    return sum(report(file.path, searched=file.spec in active) for file in files)


@dataclass
class Worker:
    """Works off the queue, one video at a time."""

    settings: IngestSettings
    catalogue: Catalogue
    encoder: Encoder
    models: WorkerModels
    telemetry: Telemetry
    stop: threading.Event

    def __post_init__(self) -> None:
        self._ingests = 0
        self._owner = uuid.uuid4().hex
        self._delay = FIRST_DELAY_SECONDS
        self._examined_at = float("-inf")

    def run(self) -> None:
        while not self.stop.is_set():
            if time.monotonic() - self._examined_at > REEXAMINE_SECONDS:
                inaccessible = self.catalogue.vector_files.inaccessible()
                examine(self.catalogue, self.models.active, inaccessible)
                self._examined_at = time.monotonic()
            if not self.step():
                self.stop.wait(self.settings.poll_seconds)

    def step(self) -> bool:
        """Run one job, or activate a version that is complete; False: there was nothing to do."""
        backfill_first = self._ingests >= INGESTS_PER_BACKFILL
        claim = self.catalogue.queue.claim(
            self._owner,
            self.models.targets(),
            self.models.is_served,
            backfill_first=backfill_first,
        )
        if claim is None:
            return self.models.activate_pending()
        # Uploads go first, and a model's coverage is completed nevertheless.
        self._ingests = 0 if backfill_first else self._ingests
        self._ingests += claim.job.kind == "ingest"
        self._work(claim)
        return True

    def _work(self, claim: Claim) -> None:
        begin, job = time.perf_counter(), claim.job
        if job.kind == "ingest" and job.attempts == 1 and job.started_at is not None:
            waited = max(0.0, job.started_at - job.created_at)
            self.telemetry.observe(metrics.JOB_WAIT_SECONDS, waited)
        with job_span(job.kind, claim.traceparent) as span:
            outcome = self._outcome(claim)
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

    def _outcome(self, claim: Claim) -> str:
        try:
            self._run(claim)
        except JobLost:
            self._discard(claim)
            return self._count(claim, "lost")
        except Stopping:
            self.catalogue.queue.release(claim, 0)
            return self._count(claim, "put off")
        except QasirError as error:
            return self._put_off(claim, error) if error.retryable else self._fail(claim, error)
        except Exception as error:  # one video's fault must not end the worker
            log.exception("bug", job_id=claim.job.id)
            return self._fail(claim, QasirError(f"{type(error).__name__}: {error}"))
        self._delay = FIRST_DELAY_SECONDS
        return self._count(claim, "ready")

    def _run(self, claim: Claim) -> None:
        if claim.job.attempts > self.settings.job_attempts:
            raise DecoderCrashed(
                f"the worker died {self.settings.job_attempts} times on this video; re-encode it"
            )
        watch, request = Stopwatch(), self._request(claim)
        heartbeat = partial(self.catalogue.queue.heartbeat, claim)
        reporter = ProgressReporter(heartbeat, self.stop.is_set)
        encoded = self.encoder.encode(request, reporter)
        reporter.enter("commit")
        with watch.stage("commit"):
            files = self._commit(claim, request, encoded)
        self.encoder.forget_checkpoint(claim.job.video_id)
        for file in files:
            self._record(claim, file, encoded, watch)

    def _request(self, claim: Claim) -> EncodeRequest:
        video_id, target = claim.job.video_id, claim.target
        model = self.models.active() if target is None else self.models.get(target.version)
        specs = model.manifest.specs if target is None else target.specs
        previewed = {
            file.grid_size
            for file in self.catalogue.vector_files.of_video(video_id)
            if file.fps == specs[0].fps
        }
        return EncodeRequest(video_id, model, specs, previewed)

    def _commit(
        self, claim: Claim, request: EncodeRequest, encoded: EncodedVideo
    ) -> Sequence[VectorFile]:
        def is_current() -> bool:
            return claim.target is not None or self.models.active().manifest.specs == request.specs

        files = self.encoder.write(request.video_id, encoded)
        if self.catalogue.queue.commit(claim, encoded.finished.info, files, is_current):
            return files
        if is_current():
            raise JobLost
        # Another version was activated meanwhile: the job begins again with that one.
        self._discard(claim)
        raise Stopping

    def _put_off(self, claim: Claim, error: QasirError) -> str:
        self.catalogue.queue.release(claim, self._delay)
        log.warning("waiting", code=error.code, detail=str(error), seconds=self._delay)
        # Nothing else can be encoded now either: the whole loop rests, not this job alone.
        self.stop.wait(self._delay)
        self._delay = min(LONGEST_DELAY_SECONDS, 2 * self._delay)
        return self._count(claim, "put off")

    def _fail(self, claim: Claim, error: QasirError) -> str:
        self._discard(claim)
        reason = JobError(error.code, str(error), error.retryable)
        if not self.catalogue.queue.fail(claim, reason):
            # Deleted or cancelled meanwhile: what its files then lack is no failure of theirs.
            return self._count(claim, "lost")
        if claim.job.kind == "ingest":
            self.telemetry.count(metrics.JOB_FAILURES, code=error.code)
        self._count(claim, "failed")
        return error.code

    def _discard(self, claim: Claim) -> None:
        video_id, files = claim.job.video_id, self.catalogue.vector_files
        self.encoder.discard(video_id, lambda: files.of_video(video_id))

    def _count(self, claim: Claim, outcome: str) -> str:
        if claim.job.kind == "backfill":
            self.telemetry.count(metrics.BACKFILLS, result=outcome)
        return outcome

    def _record(
        self, claim: Claim, file: VectorFile, encoded: EncodedVideo, watch: Stopwatch
    ) -> None:
        telemetry, n, finished = self.telemetry, str(file.grid_size), encoded.finished
        telemetry.count(metrics.SUPER_IMAGES, file.super_images, grid_size=n)
        if claim.job.kind != "ingest":
            return
        telemetry.count(metrics.VIDEO_SECONDS_INDEXED, file.seconds, grid_size=n)
        telemetry.observe(metrics.INGEST_SECONDS, watch.total, grid_size=n)
        stages = {
            "probe": finished.probe_seconds,
            "decode": finished.decode_seconds,
            "tile": finished.tile_seconds[file.grid_size],
            "encode": encoded.grids[file.grid_size].watch.seconds["encode"],
            "commit": watch.seconds["commit"],
        }
        for stage, seconds in stages.items():
            telemetry.observe(metrics.INGEST_STAGE_SECONDS, seconds, stage=stage, grid_size=n)
