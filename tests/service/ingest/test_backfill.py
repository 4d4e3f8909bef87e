"""The worker's backfills, with an encoder that answers what the test says."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from qasir.contract.models import Reranker
from qasir.errors import DecoderCrashed, ModelUnavailable
from qasir.manifest import read_manifest
from qasir.triton import Triton
from qasir.types import Bool, Float32, Uint8, VideoInfo
from service.catalogue.catalogue import Catalogue
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video
from service.ingest.targets import WorkerModels
from service.ingest.worker import Worker
from service.models.rollout import Rollout
from service.models.store import ModelStore
from service.observability.metrics import WORKER_METRICS
from service.observability.telemetry import Telemetry
from service.settings import Settings
from service.storage.media import MediaStore
from tests.support.ingest import open_worker
from tests.support.videos import write_painted

DIM = 4
INFO = VideoInfo(4.0, 64, 48, 10.0, "h264", "mov,mp4", 0)


@dataclass
class Encoder:
    """Encodes anything with the versions it serves; `before` may raise."""

    served: set[int]
    before: Callable[[], object] = lambda: None
    asked: list[int] = field(default_factory=list)

    def ready(self, version: int | None = None) -> bool:
        return version in self.served

    def encode_video(self, version: int, pixels: Uint8, mask: Bool) -> Float32:
        self.before()
        self.asked.append(version)
        return np.ones((len(pixels), 1 + mask.shape[1], DIM), np.float32)


class Killed(BaseException):
    """What kill -9 leaves undone: everything."""


class Workshop:
    """A library that the first of two model sets has indexed."""

    def __init__(self, folder: Path, old: Path, new: Path) -> None:
        self.folder = folder
        self.settings = Settings(state=folder / "state", job_attempts=2)
        self.catalogue = Catalogue(self.settings.folders.catalogue)
        self.media = MediaStore(self.settings.folders, 1 << 30, 0)
        self.store = ModelStore(self.settings.state)
        self.old, self.new = self.store.add(old), self.store.add(new)
        self.triton = Triton("127.0.0.1:1")
        self.rollout = Rollout(self.settings, self.catalogue, self.media, self.store, self.triton)
        self.telemetry = Telemetry(WORKER_METRICS)
        self.stop = threading.Event()
        self.rollout.build(self.old)

    def upload(self, number: int) -> str:
        """A video that waits for its ingest."""
        path = write_painted(self.folder / f"{number}.mp4", 4, fps=1, numbers=[number] * 4)
        with self.media.receive() as reception:
            reception.write(path.read_bytes())
            received = reception.finish()
            name, digest = received.video_id, received.sha256
            video = Video(name, name, {}, digest, 1, 0, 0, 0, "", "", "queued", float(number))
            self.media.store(received, lambda: self.catalogue.videos.accept(video))
        return name

    def add(self, number: int) -> str:
        """A video that is ready with the old model."""
        name = self.upload(number)
        mine = self.catalogue.queue.claim("me")
        assert mine is not None
        (spec,) = self.store.get(self.old).manifest.specs
        file = VectorFile(
            name,
            **dict(spec),
            path=f"{name}/old.npz",
            frames=4,
            super_images=1,
            seconds=4.0,
        )
        assert self.catalogue.queue.commit(mine, INFO, [file])
        return name

    def worker(self, encoder: Encoder) -> Worker:
        """As a worker that has just started has it."""
        models = WorkerModels(self.store, self.rollout, self.catalogue.backfills, encoder)
        return open_worker(
            self.settings, self.catalogue, encoder, models, self.telemetry, self.stop
        )

    def done(self) -> set[str]:
        """Ids of the videos that the new generation holds."""
        fingerprint = self.store.get(self.new).manifest.fingerprint
        files = self.catalogue.vector_files.all()
        return {file.video_id for file in files if file.fingerprint == fingerprint}


@pytest.fixture
def workshop(tmp_path: Path, tiny_export: Path, tuned_export: Path) -> Iterator[Workshop]:
    opened = Workshop(tmp_path, tiny_export, tuned_export)
    yield opened
    opened.catalogue.close()
    opened.triton.close()


def test_steps_take_the_oldest_and_end_when_nothing_is_missing(workshop: Workshop) -> None:
    first, second = workshop.add(1), workshop.add(2)
    worker = workshop.worker(encoder := Encoder({1, 2}))
    assert not worker.step()
    workshop.rollout.build(workshop.new)
    assert worker.step()
    assert workshop.done() == {first}
    # Another worker begins where this one was, because nothing but the vectors says how far.
    assert workshop.worker(encoder).step()
    assert workshop.done() == {first, second}
    assert not workshop.worker(encoder).step()
    assert encoder.asked == [2, 2]
    assert workshop.rollout.get(workshop.new).state == "ready"


def test_what_triton_does_not_serve_waits(workshop: Workshop) -> None:
    workshop.add(1)
    workshop.rollout.build(workshop.new)
    assert not workshop.worker(Encoder({1})).step()
    assert workshop.worker(Encoder({1, 2})).step()


def test_a_complete_generation_follows_if_it_was_told_to(workshop: Workshop) -> None:
    workshop.add(1)
    assert workshop.rollout.build(workshop.new, activate=True).state == "building"
    worker = workshop.worker(Encoder({1, 2}))
    assert worker.step()
    assert workshop.store.active().version == workshop.old
    assert worker.step()
    assert workshop.store.active().version == workshop.new
    assert workshop.store.deployment().pending is None
    assert workshop.rollout.get(workshop.old).state == "previous"


def test_failures_are_kept_and_keep_it_from_being_activated(workshop: Workshop) -> None:
    bad, good = workshop.add(1), workshop.add(2)
    workshop.media.original(bad).write_bytes(b"no video any more")
    workshop.rollout.build(workshop.new, activate=True)
    worker = workshop.worker(Encoder({1, 2}))
    while worker.step():
        pass
    one = workshop.rollout.get(workshop.new)
    assert workshop.done() == {good}
    assert (one.state, one.coverage.failed_count, one.coverage.embedded_count) == ("ready", 1, 1)
    assert f"video {bad}: unsupported_media" in str(one.error)
    assert workshop.store.active().version == workshop.old
    assert b'qasir_backfills_total{result="failed"} 1.0' in workshop.telemetry.page()


def test_an_outage_or_a_stop_is_no_failure(workshop: Workshop) -> None:
    workshop.add(1)
    workshop.settings = workshop.settings.model_copy(update={"triton_patience_seconds": 0.01})

    def gone() -> None:
        raise ModelUnavailable("gone")

    workshop.rollout.build(workshop.new)
    for _ in range(4):
        assert workshop.worker(Encoder({1, 2}, gone)).step()
    assert workshop.worker(Encoder({1, 2}, workshop.stop.set)).step()
    workshop.stop.clear()
    assert workshop.worker(Encoder({1, 2})).step()
    assert len(workshop.done()) == 1


def test_a_video_deleted_meanwhile_leaves_nothing(workshop: Workshop) -> None:
    video_id = workshop.add(1)

    def delete() -> None:
        workshop.media.delete(video_id, lambda: workshop.catalogue.videos.delete(video_id))

    workshop.rollout.build(workshop.new)
    workshop.worker(Encoder({1, 2}, delete)).step()
    assert workshop.done() == set()
    assert not (workshop.settings.folders.vectors / video_id).exists()
    assert not workshop.worker(Encoder({1, 2})).step()


def test_what_hybrid_searches_ask_for_comes_first(workshop: Workshop) -> None:
    first, second = workshop.add(1), workshop.add(2)
    manifest = read_manifest(workshop.store.get(workshop.new).tokenizer)
    fine = Reranker(version=workshop.new, grid_size=1, k=5)
    workshop.store.change(lambda before: before.activate(workshop.old, fine))
    spec, backfills = manifest.spec(1), workshop.catalogue.backfills
    backfills.request([second, first, "gone"], spec, limit=1)
    assert backfills.requested(spec) == 1
    worker = workshop.worker(encoder := Encoder({1, 2}))
    assert worker.step()
    assert workshop.catalogue.vector_files.of_spec(spec, [first, second]).keys() == {second}
    assert backfills.requested(spec) == 0
    assert encoder.asked == [2]
    # Then the rest, so that no later search has to ask.
    assert worker.step()
    assert workshop.catalogue.vector_files.of_spec(spec, [first, second]).keys() == {first, second}
    assert not worker.step()


def test_an_ingest_is_followed_by_the_rerankers_embeddings(workshop: Workshop) -> None:
    """Nobody has to ask: the first hybrid search over a new video finds them."""
    reranker = Reranker(version=workshop.new, grid_size=1, k=5)
    workshop.store.change(lambda before: before.activate(workshop.old, reranker))
    spec = workshop.store.get(workshop.new).manifest.spec(1)
    video_id = workshop.upload(1)
    worker = workshop.worker(encoder := Encoder({1, 2}))
    assert worker.step()
    assert workshop.catalogue.videos.get(video_id).state == "ready"
    assert workshop.catalogue.vector_files.of_spec(spec, [video_id]) == {}
    assert worker.step()
    assert workshop.catalogue.vector_files.of_spec(spec, [video_id]).keys() == {video_id}
    assert encoder.asked == [1, 2]
    assert not worker.step()


def test_a_video_that_kills_the_worker_is_given_up(workshop: Workshop) -> None:
    video_id = workshop.add(1)
    workshop.rollout.build(workshop.new)

    def kill() -> None:
        raise Killed

    for _ in range(workshop.settings.job_attempts):
        with pytest.raises(Killed):
            workshop.worker(Encoder({1, 2}, kill)).step()
        assert len(workshop.catalogue.queue.requeue_abandoned()) == 1
    specs = workshop.store.get(workshop.new).manifest.specs
    assert workshop.worker(Encoder({1, 2})).step()
    assert "the worker died 2 times on this video" in str(workshop.catalogue.backfills.error(specs))
    assert workshop.catalogue.backfills.failed([video_id], specs[0]) == {video_id}


def test_a_request_that_failed_is_no_request_any_more(workshop: Workshop) -> None:
    bad = workshop.add(1)
    workshop.media.original(bad).write_bytes(b"no video any more")
    fine = Reranker(version=workshop.new, grid_size=1, k=5)
    workshop.store.change(lambda before: before.activate(workshop.old, fine))
    spec = workshop.store.get(workshop.new).manifest.spec(1)
    backfills = workshop.catalogue.backfills
    for _ in range(2):
        backfills.request([bad], spec, limit=9)
        workshop.worker(Encoder({1, 2})).step()
        assert backfills.failed([bad], spec) == {bad}
        assert backfills.requested(spec) == 0
    assert DecoderCrashed.code not in str(backfills.error([spec]))
