"""Decodes videos in threads ahead of the encoder, which reads from a bounded queue.

PyAV and OpenCV release the interpreter lock, so threads run in parallel and no picture is copied
between processes.
"""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from queue import Full, Queue
from threading import Event, Lock, Thread
from typing import TypeAlias

from qasir.errors import QasirError
from qasir.super_images import SuperImageBatch, stack, tile
from qasir.video import sample_frames

THREADS = 2
AHEAD = 8  # batches in the queue: bounds memory for any length of video


@dataclass(frozen=True)
class Sampling:
    """How a video becomes batches of super images: fps, N, R and super images per batch."""

    fps: float
    grid_size: int
    resolution: int
    batch_size: int


@dataclass(frozen=True)
class DecodedBatch:
    """The next super images of a video, in order."""

    video_id: str
    batch: SuperImageBatch


@dataclass(frozen=True)
class Finished:
    """Every batch of this video has been yielded."""

    video_id: str


@dataclass(frozen=True)
class Undecodable:
    """This video cannot be decoded; some of its batches may have been yielded before."""

    video_id: str
    error: QasirError


Step: TypeAlias = DecodedBatch | Finished | Undecodable


def decode_ahead(files: Mapping[str, Path], sampling: Sampling) -> Iterator[Step]:
    """Yields steps of all videos; those of one video in order, two videos interleaved.

    An error that is not about a video's content is raised here, in the consumer.
    """
    waiting, lock, stop = iter(files.items()), Lock(), Event()
    queue: Queue[Step | BaseException | None] = Queue(AHEAD)

    def put(step: Step | BaseException | None) -> None:
        while not stop.is_set():
            with suppress(Full):
                queue.put(step, timeout=0.2)
                return

    def work() -> None:
        try:
            while not stop.is_set():
                with lock:
                    job = next(waiting, None)
                if job is None:
                    break
                for step in _steps(*job, sampling):
                    put(step)
            put(None)
        except BaseException as error:  # noqa: BLE001  # handed to the consumer, which raises it
            put(error)

    threads = [Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield from _until_done(queue, len(threads))
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _steps(video_id: str, path: Path, sampling: Sampling) -> Iterator[Step]:
    try:
        frames = sample_frames(path, sampling.fps)
        images = tile(frames, sampling.grid_size, sampling.resolution)
        while batch := list(islice(images, sampling.batch_size)):
            yield DecodedBatch(video_id, stack(batch))
    except QasirError as error:
        yield Undecodable(video_id, error)
    else:
        yield Finished(video_id)


def _until_done(queue: "Queue[Step | BaseException | None]", threads: int) -> Iterator[Step]:
    while threads:
        step = queue.get()
        if isinstance(step, BaseException):
            raise step
        if step is None:
            threads -= 1
        else:
            yield step
