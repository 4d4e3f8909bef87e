"""The worker's loop against an encoder that answers what the test says."""

import errno
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qasir.errors import CorruptArtifact, DecoderCrashed, ModelUnavailable, Overloaded
from qasir.manifest import Manifest, Profile, read_manifest
from qasir.super_images import tile
from qasir.types import Bool, Float32, Uint8
from qasir.vectors import read_vectors
from qasir.video import sample_frames
from service.catalogue.backfills import Target
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import Job
from service.catalogue.queue import Claim
from service.catalogue.vector_files import VectorFiles
from service.catalogue.videos import Accepted, Video
from service.ingest.worker import Worker, recover
from service.models.deployment import ModelVersion
from service.observability.metrics import WORKER_METRICS
from service.observability.telemetry import Telemetry
from service.settings import Settings
from service.storage.media import MediaStore
from tests.support.ingest import FixedModels, open_worker
from tests.support.videos import PaintedVideo

DIM = 8


def colours(pixels: Uint8, mask: Bool) -> Float32:
    """Units [S, 1+P, 8] that tell which picture it was, and which cells of it are real."""
    stripes = pixels.reshape(len(pixels), 64, DIM, 8, 3).mean((1, 3, 4))[:, None] / 255
    cells = stripes * mask[..., None] / (1 + np.arange(mask.shape[1]))[:, None]
    return np.asarray(np.concatenate([stripes, cells], axis=1), np.float32)


class Encoder:
    """Fails as often as told, then answers."""

    def __init__(self, *failures: Exception, before: Callable[[], object] = lambda: None) -> None:
        self.failures = list(failures)
        self.before = before
        self.windows: list[int] = []

    def ready(self, version: int | None = None) -> bool:
        return version == 1

    def encode_video(self, version: int, pixels: Uint8, mask: Bool) -> Float32:
        assert version == 1
        self.before()
        if self.failures:
            raise self.failures.pop(0)
        self.windows.append(len(pixels))
        return colours(pixels, mask)


class Workshop:
    """A loop with its catalogue and files, run until its jobs are done."""

    def __init__(self, settings: Settings, manifest: Manifest) -> None:
        self.settings = settings
        self.catalogue = Catalogue(settings.folders.catalogue)
        self.media = MediaStore(settings.folders, 1 << 30, 0)
        self.model = ModelVersion(1, manifest, Path())
        self.telemetry = Telemetry(WORKER_METRICS)
        self.stop = threading.Event()

    def add(self, path: Path) -> Accepted:
        with self.media.receive() as reception:
            reception.write(path.read_bytes())
            received = reception.finish()
            size = received.bytes
            video = Video(
                received.video_id, "t", {}, received.sha256, size, 0, 0, 0, "", "", "queued", 1.0
            )
            return self.media.store(received, lambda: self.catalogue.videos.accept(video))

    def worker(self, encoder: Encoder, *targets: Target) -> Worker:
        models = FixedModels(lambda: self.model, targets)
        return open_worker(
            self.settings, self.catalogue, encoder, models, self.telemetry, self.stop
        )

    def recover(self) -> None:
        recover(self.settings, self.catalogue, self.media, lambda: self.model)

    def run(
        self, encoder: Encoder, *waiting: Accepted, targets: Sequence[Target] = ()
    ) -> list[Job]:
        """Run the loop in a thread until these jobs have ended."""
        thread = threading.Thread(target=self.worker(encoder, *targets).run)
        thread.start()
        ended = threading.Event()
        for _ in range(400):
            jobs = [self.catalogue.jobs.get(accepted.job.id) for accepted in waiting]
            if all(job.finished_at for job in jobs):
                break
            ended.wait(0.05)
        self.stop.set()
        thread.join(20)
        assert not thread.is_alive()
        return jobs


@pytest.fixture
def manifest(tiny_export: Path) -> Manifest:
    """Two grid sizes, small windows that overlap."""
    profile = Profile(grid_sizes=(1, 2), fps=1.0, index_unit="super-image")
    changed = {"profile": profile, "window": 8, "window_overlap": 2, "dim": DIM}
    return read_manifest(tiny_export).model_copy(update=changed)


@pytest.fixture
def workshop(tmp_path: Path, manifest: Manifest) -> Iterator[Workshop]:
    settings = Settings(state=tmp_path / "state", poll_seconds=0.02, triton_patience_seconds=2.0)
    opened = Workshop(settings, manifest)
    yield opened
    opened.catalogue.close()


def test_every_super_image_of_every_grid_size_is_committed(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    path = painted_video(seconds=30)
    accepted = workshop.add(path)
    (job,) = workshop.run(encoder := Encoder(), accepted)
    assert (job.state, job.progress) == ("ready", 1.0)
    assert max(encoder.windows) == 8
    files = workshop.catalogue.vector_files.of_video(accepted.video.id)
    assert sorted((f.grid_size, f.frames, f.super_images) for f in files) == [
        (1, 30, 30),
        (2, 30, 8),
    ]
    for file in files:
        images = list(tile(sample_frames(path, 1.0), file.grid_size, 64))
        mask = np.stack([image.mask for image in images])
        expected = colours(np.stack([image.pixels for image in images]), mask)
        vectors = read_vectors(workshop.media.vectors(file.path))
        np.testing.assert_allclose(vectors.embeddings, expected, atol=1e-3)
        np.testing.assert_array_equal(vectors.mask, mask)
        np.testing.assert_array_equal(vectors.times, np.stack([image.times for image in images]))


def test_short_outage_costs_patience_and_nothing_done_so_far(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    encoder = Encoder(ModelUnavailable("gone"), Overloaded("full"))
    (job,) = workshop.run(encoder, workshop.add(painted_video(seconds=4)))
    assert (job.state, job.attempts) == ("ready", 1)


def test_long_outage_puts_the_job_off_and_does_not_count(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    workshop.settings = workshop.settings.model_copy(update={"triton_patience_seconds": 0.01})
    encoder = Encoder(*[ModelUnavailable("gone")] * 2)
    (job,) = workshop.run(encoder, workshop.add(painted_video(seconds=4)))
    assert (job.state, job.attempts) == ("ready", 1)


def test_bug_fails_one_job_and_the_next_is_done(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    first = workshop.add(painted_video("a.mp4", seconds=4))
    second = workshop.add(painted_video("b.mp4", seconds=5))
    failed, ready = workshop.run(Encoder(ZeroDivisionError("oops")), first, second)
    assert failed.error is not None
    assert (failed.state, failed.error.code) == ("failed", "internal")
    assert "ZeroDivisionError: oops" in failed.error.detail
    assert ready.state == "ready"
    assert b'qasir_job_failures_total{code="internal"} 1.0' in workshop.telemetry.page()


def test_video_that_kills_the_worker_is_given_up(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    accepted = workshop.add(painted_video(seconds=4))
    for attempt in range(workshop.settings.job_attempts):
        assert workshop.catalogue.queue.claim(f"dead {attempt}")
        assert workshop.catalogue.queue.requeue_abandoned("me") == [accepted.job.id]
    (job,) = workshop.run(Encoder(), accepted)
    assert job.error is not None
    assert job.error.code == DecoderCrashed.code
    assert "died 3 times" in job.error.detail


def test_stop_gives_the_job_back(workshop: Workshop, painted_video: PaintedVideo) -> None:
    accepted = workshop.add(painted_video(seconds=60))
    workshop.worker(Encoder(before=workshop.stop.set)).run()
    job = workshop.catalogue.jobs.get(accepted.job.id)
    assert (job.state, job.attempts, job.progress) == ("queued", 0, 0.0)
    assert workshop.catalogue.vector_files.of_video(accepted.video.id) == []


def test_video_deleted_in_the_middle_leaves_nothing(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    accepted = workshop.add(painted_video("a.mp4", seconds=60))
    after = workshop.add(painted_video("b.mp4", seconds=4))
    video_id = accepted.video.id

    def delete() -> None:
        if video_id in workshop.catalogue.videos.ids():
            workshop.media.delete(video_id, lambda: workshop.catalogue.videos.delete(video_id))

    (ready,) = workshop.run(Encoder(before=delete), after)
    assert ready.state == "ready"
    assert workshop.catalogue.videos.ids() == {after.video.id}
    assert not (workshop.settings.folders.vectors / video_id).exists()
    page = workshop.telemetry.page().decode().splitlines()
    failures = [line for line in page if line.startswith("qasir_job_failures_total{")]
    assert {line.rsplit(" ", 1)[1] for line in failures} <= {"0.0"}


class Dying(Encoder):
    """Answers some windows; at the next one the worker stops, or is killed."""

    def __init__(self, answers: int, end: Callable[[], object]) -> None:
        super().__init__()
        self.answers = answers
        self.end = end

    def encode_video(self, version: int, pixels: Uint8, mask: Bool) -> Float32:
        if len(self.windows) == self.answers:
            self.end()
        return super().encode_video(version, pixels, mask)


class Killed(BaseException):
    """What kill -9 leaves undone: everything."""


def kill() -> None:
    raise Killed


@pytest.mark.parametrize("killed", [False, True])
def test_an_interrupted_ingest_does_not_encode_again(
    workshop: Workshop, painted_video: PaintedVideo, killed: bool
) -> None:
    path = painted_video(seconds=60)
    accepted = workshop.add(path)
    first = Dying(5, kill if killed else workshop.stop.set)
    if killed:
        with pytest.raises(Killed):
            workshop.worker(first).run()
    else:
        workshop.worker(first).run()
        workshop.stop.clear()
    assert workshop.catalogue.vector_files.of_video(accepted.video.id) == []
    workshop.recover()
    assert workshop.catalogue.jobs.get(accepted.job.id).state == "queued"
    (job,) = workshop.run(second := Encoder(), accepted)
    assert job.state == "ready"
    # A window of 8 super images of which 2 overlap: 10 windows of N = 1, 3 of N = 2.
    done = 5 if killed else 6
    assert len(first.windows) == done
    assert len(second.windows) == 13 - done
    assert list(workshop.settings.folders.checkpoints.iterdir()) == []
    for file in workshop.catalogue.vector_files.of_video(accepted.video.id):
        images = list(tile(sample_frames(path, 1.0), file.grid_size, 64))
        mask = np.stack([image.mask for image in images])
        expected = colours(np.stack([image.pixels for image in images]), mask)
        np.testing.assert_allclose(
            read_vectors(workshop.media.vectors(file.path)).embeddings, expected, atol=1e-3
        )


def test_cancelled_ingest_leaves_no_checkpoint(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    accepted = workshop.add(painted_video("a.mp4", seconds=60))
    after = workshop.add(painted_video("b.mp4", seconds=4))
    cancelling = Dying(5, lambda: workshop.catalogue.jobs.cancel(accepted.job.id))
    (ready,) = workshop.run(cancelling, after)
    assert ready.state == "ready"
    assert workshop.catalogue.jobs.get(accepted.job.id).state == "cancelled"
    assert list(workshop.settings.folders.checkpoints.iterdir()) == []
    assert not (workshop.settings.folders.vectors / accepted.video.id).exists()


def test_an_activation_in_the_middle_begins_the_job_again(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    """What the old model encoded is committed nowhere: the video comes into the new index."""
    accepted = workshop.add(painted_video(seconds=20))
    profile = Profile(grid_sizes=(2,), fps=1.0, index_unit="super-image")
    manifest = workshop.model.manifest.model_copy(update={"profile": profile})
    other = ModelVersion(1, manifest, Path())

    def activate() -> None:
        workshop.model = other

    (job,) = workshop.run(Encoder(before=activate), accepted)
    assert (job.state, job.attempts) == ("ready", 1)
    (file,) = workshop.catalogue.vector_files.of_video(accepted.video.id)
    assert file.spec == manifest.spec(2)
    folder = workshop.settings.folders.vectors / accepted.video.id
    assert [path.name for path in folder.iterdir()] == [Path(file.path).name]


def test_backfills_get_their_share_while_uploads_wait(
    workshop: Workshop, painted_video: PaintedVideo, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = [workshop.add(painted_video(f"{n}.mp4", seconds=3 + n)) for n in range(6)]
    claimed: list[tuple[str, int]] = []
    claim = workshop.catalogue.queue.claim

    def record(*args: Any, **options: Any) -> Claim | None:
        made = claim(*args, **options)
        if made is not None:
            claimed.append((made.job.kind, workshop.catalogue.jobs.queued_count()))
        return made

    monkeypatch.setattr(workshop.catalogue.queue, "claim", record)
    other = workshop.model.manifest.spec(1).model_copy(update={"resolution": 32})
    target = Target(1, (other,))
    workshop.run(Encoder(), *waiting, targets=[target])
    kinds = [kind for kind, _ in claimed]
    queued = [count for kind, count in claimed if kind == "backfill"]
    # One after four uploads, then one whenever none waits.
    assert kinds[:7] == [*["ingest"] * 4, "backfill", "ingest", "ingest"]
    assert queued[0] == 2
    assert set(queued[1:]) <= {0}


def test_a_video_whose_vectors_are_lost_is_encoded_again(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    accepted = workshop.add(painted_video(seconds=4))
    workshop.run(Encoder(), accepted)
    workshop.stop.clear()
    video_id, files = accepted.video.id, workshop.catalogue.vector_files
    lost = files.of_video(video_id)[0]
    workshop.media.vectors(lost.path).write_bytes(b"")
    workshop.recover()
    assert workshop.catalogue.videos.get(video_id).state == "queued"
    again = workshop.catalogue.jobs.newest_of(video_id)
    assert again.id != accepted.job.id
    workshop.run(Encoder(), Accepted(accepted.video, again, is_new=False))
    assert workshop.catalogue.videos.get(video_id).state == "ready"
    assert len(files.of_video(video_id)) == 2
    assert all(files.looks_whole(file) for file in files.all())


def test_a_file_that_cannot_be_opened_at_start_is_looked_at_again(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    accepted = workshop.add(painted_video(seconds=4))
    workshop.run(Encoder(), accepted)
    files, real_open = workshop.catalogue.vector_files, Path.open

    def open_others(path: Path, *args: Any, **options: Any) -> Any:
        if path.suffix == ".npz":
            raise OSError(errno.EACCES, "Permission denied", str(path))
        return real_open(path, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", open_others)
        patch.setattr(VectorFiles, "looks_whole", lambda *_: False)
        workshop.recover()
    assert len(files.inaccessible()) == 2
    before = workshop.catalogue.changes.number()
    workshop.stop.clear()
    # The loop looks at them, and searchers then read them again.
    after = workshop.add(painted_video("b.mp4", seconds=5))
    workshop.run(Encoder(), after)
    assert files.inaccessible() == []
    spec = workshop.model.manifest.spec(1)
    again = {file.video_id for file in workshop.catalogue.changes.since(spec, before).files}
    assert again == {accepted.video.id, after.video.id}
    assert workshop.catalogue.videos.get(accepted.video.id).state == "ready"


def test_without_media_that_fails_with_a_reason(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    accepted = workshop.add(painted_video(seconds=4))
    workshop.run(Encoder(), accepted)
    workshop.stop.clear()
    video_id = accepted.video.id
    for file in workshop.catalogue.vector_files.all():
        workshop.media.vectors(file.path).unlink()
    workshop.media.original(video_id).unlink()
    workshop.recover()
    again = workshop.catalogue.jobs.newest_of(video_id)
    (job,) = workshop.run(Encoder(), Accepted(accepted.video, again, is_new=False))
    assert job.error is not None
    assert (job.state, job.error.code) == ("failed", "not_found")
    assert f"restore media/{video_id}" in job.error.detail
    assert workshop.catalogue.videos.get(video_id).state == "failed"


def test_a_state_folder_without_its_files_is_refused(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    """As where media and vectors lie on a disk that is not mounted: no job fails for it."""
    accepted = workshop.add(painted_video(seconds=4))
    workshop.run(Encoder(), accepted)
    folders = workshop.settings.folders
    for folder in (folders.media, folders.vectors):
        folder.rename(folder.with_suffix(".elsewhere"))
        folder.mkdir()
    with pytest.raises(CorruptArtifact, match=r"names 1 videos, but .* are empty"):
        workshop.recover()
    assert workshop.catalogue.videos.get(accepted.video.id).state == "ready"
    assert len(workshop.catalogue.vector_files.all()) == 2


def test_recovery_removes_nothing_that_the_catalogue_does_not_know(
    workshop: Workshop, painted_video: PaintedVideo
) -> None:
    accepted = workshop.add(painted_video(seconds=4))
    workshop.run(Encoder(), accepted)
    folders = workshop.settings.folders
    unknown = folders.media / "vunknown" / "original"
    unknown.parent.mkdir()
    unknown.write_bytes(b"moving pictures")
    workshop.recover()
    assert not unknown.exists()
    (aside,) = folders.orphans.glob("*/media/vunknown/original")
    assert aside.read_bytes() == b"moving pictures"
    assert workshop.media.original(accepted.video.id).is_file()
