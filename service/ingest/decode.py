"""Decoding in a process of its own: what a hostile file can kill is only this process.

    frames --+--> grid 1: sheets, tile, windows --+
             +--> grid 2: sheets, tile, windows --+--> pipe --> worker

One decode serves every grid size. Each thread holds a few frames and one window; the pipe
blocks while the worker encodes, so memory stays the same for any length of video, and the
next window is decoded while the last one is encoded.
"""

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
from typing import TypeVar

import structlog

from qasir.errors import QasirError
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


@dataclass(frozen=True)
class GridPlan:
    """One grid size to produce: N, R, and the folder its sheets go to; None: they are there."""

    grid_size: int
    resolution: int
    previews: Path | None


@dataclass(frozen=True)
class DecodePlan:
    """Everything the process needs to know."""

    path: Path
    fps: float
    grids: tuple[GridPlan, ...]
    window: int
    window_overlap: int
    limits: Limits
    memory_bytes: int


@dataclass(frozen=True)
class Probed:
    """The container has been read."""

    info: VideoInfo


@dataclass(frozen=True)
class Decoded:
    """So many frames have been sampled; sent now and then, as a sign of life."""

    frames: int


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


@dataclass(frozen=True)
class Refused:
    """The file is at fault, in the words of the error tree."""

    error: QasirError


Message = Probed | Decoded | DecodedWindow | Finished | Refused


def decode(plan: DecodePlan, connection: Connection) -> None:
    """The process's whole life: send messages for `plan`, last of all Finished or Refused."""
    # A signal to the whole group is the worker's to obey; it then kills this process, or, if
    # it was killed itself, the next message finds nobody to read it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.nice(NICENESS)
    resource.setrlimit(resource.RLIMIT_AS, (plan.memory_bytes, plan.memory_bytes))
    send = _Sender(connection)
    try:
        _decode(plan, send)
    except QasirError as error:
        send(Refused(type(error)(_without_path(str(error), plan.path))))
    except Exception:
        # As the worker logs, whose log this is; multiprocessing would print a plain traceback.
        configure_logs("worker")
        log.exception("decode process failed")
        sys.exit(1)


def _without_path(text: str, path: Path) -> str:
    """Where we keep the file is nothing that who sent it knows, or should."""
    return text.replace(str(path), "the upload").replace(path.name, "the upload")


def _decode(plan: DecodePlan, send: Callable[[Message], None]) -> None:
    watch = Stopwatch()
    with watch.stage("probe"):
        info = probe(plan.path, plan.limits)
        send(Probed(info))
    lanes = [GridPipeline(grid, plan, send) for grid in plan.grids]
    with ThreadPoolExecutor(len(lanes)) as threads:
        running = [threads.submit(lane.run) for lane in lanes]
        count = 0
        try:
            frames = sample_frames(plan.path, plan.fps, plan.limits)
            for frame in _ticking(timed(frames, watch, "decode"), send):
                count += 1
                for lane in lanes:
                    lane.offer(frame)
        finally:
            for lane in lanes:
                lane.offer(None)
        for lane_run in running:
            lane_run.result()
    tiled = {lane.grid.grid_size: lane.tile_seconds for lane in lanes}
    send(Finished(info, count, watch.seconds["probe"], watch.seconds["decode"], tiled))


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
        """Seconds spent tiling and drawing sheets, waiting for frames taken out."""
        return self._watch.seconds["tile"] - self._watch.seconds["wait"]

    def offer(self, frame: Frame | None) -> None:
        """Hand over the next frame, or None at the end; a lane that failed takes no more."""
        while not self._broken.is_set():
            try:
                self._frames.put(frame, timeout=TICK_SECONDS)
            except queue.Full:
                continue
            return

    def run(self) -> None:
        """Send every window."""
        try:
            self._run()
        finally:
            self._broken.set()

    def _run(self) -> None:
        size = self.grid.grid_size
        frames = timed(iter(self._frames.get, None), self._watch, "wait")
        if self.grid.previews is not None:
            frames = write_previews(frames, size, self.grid.previews)
        images = timed(tile(frames, size, self.grid.resolution), self._watch, "tile")
        for window in windows(images, self._plan.window, self._plan.window_overlap):
            self._send(DecodedWindow(size, window.batch, window.keep))


class _Sender:
    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    def __call__(self, message: Message) -> None:
        with self._lock:
            self._connection.send(message)


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


def _ticking(frames: Iterator[Frame], send: Callable[[Message], None]) -> Iterator[Frame]:
    last = time.monotonic()
    for count, frame in enumerate(frames, 1):
        yield frame
        if time.monotonic() - last > TICK_SECONDS:
            last = time.monotonic()
            send(Decoded(count))
