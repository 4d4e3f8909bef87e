"""Encodes one video: windows of super images in, embeddings from Triton out, files written.

decode process -> window -> checkpoint? -> Triton encode_video -> checkpoint -> vectors
"""

import threading
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential
from tenacity.nap import sleep_using_event

from qasir.errors import ModelUnavailable, NotFound, Overloaded
from qasir.manifest import EmbeddingSpec
from qasir.super_images import SuperImageBatch
from qasir.types import Bool, Float16, Float32, Uint8, VideoInfo
from qasir.vectors import VideoVectors, join, write_vectors
from qasir.video import Limits
from service.canary.windows import StoredWindow, WindowStore
from service.catalogue.vector_files import VectorFile
from service.ingest.decode import DecodedWindow, DecodePlan, Decoder, Finished, GridPlan
from service.ingest.progress import ProgressReporter
from service.models.deployment import ModelVersion
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.observability.tracing import past_span
from service.settings import IngestSettings
from service.storage.checkpoints import Checkpoint
from service.storage.media import MediaStore


class EncodingTriton(Protocol):
    """The part of `qasir.triton.Triton` that the worker needs."""

    def ready(self, version: int | None = None) -> bool:
        """Return whether this version can be called."""

    def encode_video(self, version: int, pixels: Uint8, mask: Bool) -> Float32:
        """Encode super images uint8 [S, R, R, 3], mask bool [S, P], to float32 [S, 1+P, D]."""


@dataclass(frozen=True)
class EncodeRequest:
    """A video, and a model with those of its specs, all of one fps, to encode it for.

    previewed: grid sizes whose previews exist already.
    """

    video_id: str
    model: ModelVersion
    specs: Sequence[EmbeddingSpec]
    previewed: Collection[int] = ()


@dataclass
class EncodedGrid:
    """The windows of one grid size as they come."""

    spec: EmbeddingSpec
    watch: Stopwatch = field(default_factory=Stopwatch)
    windows: list[VideoVectors] = field(default_factory=list)
    last: StoredWindow | None = None

    def add(self, embeddings: Float16, window: DecodedWindow) -> None:
        """Add a window with its embeddings float16 [S, 1+P, D]."""
        batch, keep = window.batch, window.keep
        first = sum(len(before.mask) for before in self.windows)
        self.last = StoredWindow(batch.pixels, batch.mask, keep, first)
        self.windows.append(
            VideoVectors(self.spec, embeddings[keep], batch.mask[keep], batch.times[keep])
        )


@dataclass(frozen=True)
class EncodedVideo:
    """What there is to commit, by grid size."""

    finished: Finished
    grids: dict[int, EncodedGrid]


@dataclass
class Encoder:
    """Encodes videos, one at a time, and writes their vector files."""

    settings: IngestSettings
    media: MediaStore
    triton: EncodingTriton
    windows: WindowStore
    telemetry: Telemetry
    stop: threading.Event

    def encode(self, request: EncodeRequest, reporter: ProgressReporter) -> EncodedVideo:
        """Decode a video and encode it window by window, but for those encoded before a stop.

        Raises:
            QasirError: the file is at fault, or Triton stayed away for too long.
            JobLost, Stopping: see `ProgressReporter`.
        """
        plan, began = self._plan(request), time.time()
        grids = {spec.grid_size: EncodedGrid(spec) for spec in request.specs}
        with Decoder(plan, self.settings.decode_stall_seconds) as decoder:
            for message in decoder.messages(idle=reporter.check):
                match message:
                    case VideoInfo():
                        reporter.expect(message.duration * plan.fps)
                    case int():
                        reporter.decoded(message)
                    case DecodedWindow():
                        grid = grids[message.grid_size]
                        frames = message.batch.mask[message.keep].sum() / len(grids)
                        window = self._window(request, grid, message.batch, frames, reporter)
                        grid.add(window, message)
                    case Finished():
                        finished = message
        # Another process has measured this; it has no spans of its own.
        past_span(
            "decode",
            began,
            frames=finished.frames,
            probe_seconds=finished.probe_seconds,
            decode_seconds=finished.decode_seconds,
            tile_seconds=sum(finished.tile_seconds.values()),
        )
        for grid in grids.values():
            if grid.last is not None:
                manifest = request.model.manifest
                self.windows.store(request.video_id, manifest, grid.spec, grid.last)
        return EncodedVideo(finished, grids)

    def write(self, video_id: str, encoded: EncodedVideo) -> list[VectorFile]:
        """Write a new, immutable file per grid size; they count once the catalogue names them."""
        files = []
        for grid in encoded.grids.values():
            vectors, unique = join(grid.windows), uuid.uuid4().hex[:8]
            path = f"{video_id}/{grid.spec.fingerprint}-n{grid.spec.grid_size}-{unique}.npz"
            write_vectors(vectors, self.media.vectors(path))
            files.append(VectorFile.of(path, vectors))
        return files

    def discard(self, video_id: str, named: Callable[[], Iterable[VectorFile]]) -> None:
        """Remove what was encoded of a video and is not `named` by the catalogue."""
        self.forget_checkpoint(video_id)
        self.media.tidy(video_id, named)

    def forget_checkpoint(self, video_id: str) -> None:
        """Remove the windows of a video that needs no resuming any more."""
        Checkpoint(self.settings.folders, video_id).clear()

    def _plan(self, request: EncodeRequest) -> DecodePlan:
        manifest, settings, fps = request.model.manifest, self.settings, request.specs[0].fps
        path = self.media.original(request.video_id)
        if not path.is_file():
            raise NotFound(
                f"the uploaded file of video '{request.video_id}' is missing from the state "
                f"folder; restore media/{request.video_id} and retry, or upload the file again"
            )
        grids = tuple(
            GridPlan(
                spec.grid_size,
                spec.resolution,
                None
                if spec.grid_size in request.previewed
                else self.media.previews(request.video_id, spec.grid_size, fps),
            )
            for spec in request.specs
        )
        return DecodePlan(
            path=path,
            fps=fps,
            grids=grids,
            window=manifest.window,
            window_overlap=manifest.window_overlap,
            limits=Limits(settings.max_video_seconds, settings.max_frame_pixels),
            memory_bytes=settings.decode_memory_bytes,
        )

    def _window(
        self,
        request: EncodeRequest,
        grid: EncodedGrid,
        batch: SuperImageBatch,
        frames: float,
        reporter: ProgressReporter,
    ) -> Float16:
        """Get the embeddings of a window from its checkpoint or from Triton."""
        checkpoint = Checkpoint(self.settings.folders, request.video_id)
        restored = checkpoint.read(grid.spec, batch)
        if restored is not None:
            reporter.restored(frames)
            return restored
        with grid.watch.stage("encode"):
            embeddings = self._call(request.model.version, batch, reporter)
        self.telemetry.count(metrics.WINDOWS, grid_size=str(grid.spec.grid_size))
        # A window that is not full is the last, and the commit is next.
        if len(embeddings) == request.model.manifest.window:
            checkpoint.write(grid.spec, batch, embeddings)
        reporter.encoded(frames)
        return embeddings

    def _call(self, version: int, batch: SuperImageBatch, reporter: ProgressReporter) -> Float16:
        # A Triton that restarts costs patience, not the part of the video done so far.
        patiently = Retrying(
            retry=retry_if_exception_type((ModelUnavailable, Overloaded)),
            wait=wait_exponential(multiplier=0.5, max=10),
            stop=stop_after_delay(self.settings.triton_patience_seconds),
            sleep=sleep_using_event(self.stop),
            before=lambda _: reporter.enter("encode"),
            reraise=True,
        )
        encode = self.triton.encode_video
        embeddings: Float32 = patiently(encode, version, batch.pixels, batch.mask)
        return embeddings.astype(np.float16)
