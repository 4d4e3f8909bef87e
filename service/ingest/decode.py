"""Decoding in a process of its own: what a hostile file can kill is only this process.

    frames --+--> grid 1: previews, tile, windows --+
             +--> grid 2: previews, tile, windows --+--> pipe --> worker

One decode serves every grid size. Each thread holds a few frames and one window; the pipe blocks
while the worker encodes, so memory stays the same for any length of video, and the next window is
decoded while the last one is encoded.
"""

import multiprocessing
import os
import queue
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Self, TypeVar

import structlog

from qasir.errors import DecoderCrashed, QasirError
from qasir.super_images import SuperImageBatch, tile, windows
from qasir.types import Frame, VideoInfo
from qasir.video import Limits, probe, sample_frames
from service.observability.logs import configure_logs
from service.observability.telemetry import Stopwatch
from service.storage.previews import write_previews

T = TypeVar("T")

log = structlog.get_logger()

FRAMES_AHEAD = 4
# Searches share these cores and are waited for; an ingest is not.
NICENESS = 5
TICK_SECONDS = 0.5

# A clean process, started once and without threads, is forked for every video: nothing of the
# worker's is inherited, and PyAV and OpenCV are imported once.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["service.ingest.decode"])


@dataclass(frozen=True)
class GridPlan:
    """One grid size to produce: N, R, and the folder for its previews; None: they exist."""

    grid_size: int
    resolution: int
    previews: Path | None


@dataclass(frozen=True)
class DecodePlan:
    """What the process decodes, and its limits."""

    path: Path
    fps: float
    grids: tuple[GridPlan, ...]
    window: int
    window_overlap: int
    limits: Limits
    memory_bytes: int


@dataclass(frozen=True)
class DecodedWindow:
    """A window of super images of one grid size, of which `keep` is new."""

    grid_size: int
    batch: SuperImageBatch
    keep: slice


@dataclass(frozen=True)
class Finished:
    """The end of the video: frames in all, and seconds spent by stage and grid size."""

    info: VideoInfo
    frames: int
    probe_seconds: float
    decode_seconds: float
    tile_seconds: dict[int, float]


# What the container says; then windows, and now and then how many frames have been sampled, as a
# sign of life; at the end Finished, or why the file is refused.
Message = VideoInfo | int | DecodedWindow | Finished | QasirError


class Decoder:
    """The worker's end of one decode process; leaving the block kills it if it still runs."""

    def __init__(self, plan: DecodePlan, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._receiver, sender = _processes.Pipe(duplex=False)
        self._process = _processes.Process(target=decode, args=(plan, sender), daemon=True)
        self._process.start()
        # The worker's copy is closed, or the end of the process would not end the pipe.
        sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._receiver.close()

    @property
    def pid(self) -> int | None:
        """Return the id of the process."""
        return self._process.pid

    def messages(self, idle: Callable[[], None] = lambda: None) -> Iterator[Message]:
        """Yield messages up to Finished; `idle` is called now and then while none comes.

        Raises:
            QasirError: why the process refuses the file.
            DecoderCrashed: it died, or was silent for too long.
        """
        while True:
            message = self._receive(idle)
            if isinstance(message, QasirError):
                raise message
            yield message
            if isinstance(message, Finished):
                return

    def _receive(self, idle: Callable[[], None]) -> Message:
        deadline = time.monotonic() + self._stall_seconds
        while not self._receiver.poll(min(TICK_SECONDS, self._stall_seconds)):
            if time.monotonic() >= deadline:
                raise DecoderCrashed(
                    f"decoding made no progress for {self._stall_seconds:.0f} s; the file may be "
                    f"damaged: re-encode it, or raise QASIR_DECODE_STALL_SECONDS"
                )
            idle()
        try:
            message: Message = self._receiver.recv()
        except EOFError as error:
            self._process.join(self._stall_seconds)
            raise DecoderCrashed(
                f"the decode process died (exit code {self._process.exitcode}) on this file; "
                f"re-encode it, for example with ffmpeg"
            ) from error
        return message


def decode(plan: DecodePlan, connection: Connection) -> None:
    """Send the messages for a plan; this is all that the process does."""
    # The worker handles a signal to the whole group: it kills this process. If the worker itself
    # was killed, sending the next message fails.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (plan.memory_bytes, plan.memory_bytes))
    lock = threading.Lock()

    def send(message: Message) -> None:
        with lock:
            connection.send(message)

    try:
        _decode(plan, send)
    except QasirError as error:
        # The sender of the file is not shown where it is stored.
        text = str(error).replace(str(plan.path), "the upload")
        send(type(error)(text.replace(plan.path.name, "the upload")))
    except Exception:
        # In the worker's format; multiprocessing would print a plain traceback.
        configure_logs("worker")
        log.exception("decode process failed")
        sys.exit(1)


def _decode(plan: DecodePlan, send: Callable[[Message], None]) -> None:
    watch = Stopwatch()
    with watch.stage("probe"):
        info = probe(plan.path, plan.limits)
        send(info)
    pipelines = [GridPipeline(grid, plan, send) for grid in plan.grids]
    with ThreadPoolExecutor(len(pipelines)) as threads:
        running = [threads.submit(pipeline.run) for pipeline in pipelines]
        count, last_sent = 0, time.monotonic()
        try:
            frames = sample_frames(plan.path, plan.fps, plan.limits)
            for count, frame in enumerate(timed(frames, watch, "decode"), 1):
                for pipeline in pipelines:
                    pipeline.offer(frame)
                if time.monotonic() - last_sent > TICK_SECONDS:
                    last_sent = time.monotonic()
                    send(count)
        finally:
            for pipeline in pipelines:
                pipeline.offer(None)
        for run in running:
            run.result()
    tile_seconds = {pipeline.grid.grid_size: pipeline.tile_seconds for pipeline in pipelines}
    send(Finished(info, count, watch.seconds["probe"], watch.seconds["decode"], tile_seconds))


class GridPipeline:
    """One grid size's way from frames to windows, in a thread of its own."""

    def __init__(self, grid: GridPlan, plan: DecodePlan, send: Callable[[Message], None]) -> None:
        self.grid = grid
        self._plan = plan
        self._send = send
        self._frames: queue.Queue[Frame | None] = queue.Queue(FRAMES_AHEAD)
        self._broken = threading.Event()
        self._watch = Stopwatch()

    @property
    def tile_seconds(self) -> float:
        """Return the seconds spent tiling and drawing previews, without waiting for frames."""
        return self._watch.seconds["tile"] - self._watch.seconds["wait"]

    def offer(self, frame: Frame | None) -> None:
        """Hand over the next frame, or None at the end; a pipeline that failed takes no more."""
        while not self._broken.is_set():
            try:
                self._frames.put(frame, timeout=TICK_SECONDS)
            except queue.Full:
                continue
            return

    def run(self) -> None:
        size = self.grid.grid_size
        try:
            frames = timed(iter(self._frames.get, None), self._watch, "wait")
            if self.grid.previews is not None:
                frames = write_previews(frames, size, self.grid.previews)
            images = timed(tile(frames, size, self.grid.resolution), self._watch, "tile")
            for window in windows(images, self._plan.window, self._plan.window_overlap):
                self._send(DecodedWindow(size, window.batch, window.keep))
        finally:
            self._broken.set()


def timed(source: Iterable[T], watch: Stopwatch, stage: str) -> Iterator[T]:
    """Pass items on, counting the seconds the source takes to give them."""
    items = iter(source)
    while True:
        try:
            with watch.stage(stage):
                item = next(items)
        except StopIteration:
            return
        yield item
