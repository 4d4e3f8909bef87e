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
from qasir.types import Bool, Float16, Float32, Float64, Uint8
from qasir.vectors import VideoVectors, write_vectors
from qasir.video import Limits
from service.canary.windows import StoredWindow, WindowStore
from service.catalogue.vector_files import VectorFile
from service.ingest.decode import (
    Decoded,
    DecodedWindow,
    DecodePlan,
    Finished,
    GridPlan,
    Probed,
)
from service.ingest.decode_process import Decoder
from service.ingest.progress import ProgressReporter
from service.models.deployment import ModelVersion
from service.observability import metrics
from service.observability.telemetry import Stopwatch, Telemetry
from service.observability.tracing import past_span
from service.settings import IngestSettings
from service.storage.checkpoints import Checkpoint
from service.storage.media import MediaStore


class EncodeWindow(Protocol):
    """The part of `qasir.triton.Triton` that encoding needs."""

    def encode_video(self, version: int, pixels: Uint8, mask: Bool) -> Float32:
        """Embeddings float32 [S, 1+P, D] of super images uint8 [S, R, R, 3], mask bool [S, P]."""


@dataclass(frozen=True)
class EncodeRequest:
    """A video, and a model with those of its specs, all of one fps, to encode it for.

    previewed: grid sizes whose previews exist already.
    """

    video_id: str
    model: ModelVersion
    specs: Sequence[EmbeddingSpec]
    previewed: Collection[int] = ()


@dataclass(frozen=True)
class EncodedVideo:
    """What there is to commit, by grid size, and where the time went."""

    finished: Finished
    vectors: dict[int, VideoVectors]
    encode_seconds: dict[int, float]


@dataclass(frozen=True)
class _Grid:
    """The windows of one grid size as they come."""

    spec: EmbeddingSpec
    watch: Stopwatch = field(default_factory=Stopwatch)
    embeddings: list[Float16] = field(default_factory=list)
    masks: list[Bool] = field(default_factory=list)
    times: list[Float64] = field(default_factory=list)
    last: list[StoredWindow] = field(default_factory=list)

    def add(self, embeddings: Float16, window: DecodedWindow) -> None:
        first = sum(len(mask) for mask in self.masks)
        self.last[:] = [StoredWindow(window.batch.pixels, window.batch.mask, window.keep, first)]
        self.embeddings.append(embeddings[window.keep])
        self.masks.append(window.batch.mask[window.keep])
        self.times.append(window.batch.times[window.keep])

    def vectors(self) -> VideoVectors:
        return VideoVectors(
            self.spec,
            np.concatenate(self.embeddings),
            np.concatenate(self.masks),
            np.concatenate(self.times),
        )


class Encoder:
    """Encodes videos, one at a time, and writes their vector files."""

    def __init__(
        self,
        settings: IngestSettings,
        media: MediaStore,
        triton: EncodeWindow,
        windows: WindowStore,
        telemetry: Telemetry,
        stop: threading.Event,
    ) -> None:
        self._settings = settings
        self._media = media
        self._triton = triton
        self._windows = windows
        self._telemetry = telemetry
        self._stop = stop

    def encode(self, request: EncodeRequest, reporter: ProgressReporter) -> EncodedVideo:
        """Decode a video and encode it window by window, but for those encoded before a stop.

        Raises:
            QasirError: the file is at fault, or Triton stayed away for too long.
            JobLost, Stopping: see `ProgressReporter`.
        """
        plan, began = self._plan(request), time.time()
        grids = {spec.grid_size: _Grid(spec) for spec in request.specs}
        with Decoder(plan, self._settings.decode_stall_seconds) as decoder:
            for message in decoder.messages(idle=reporter.check):
                match message:
                    case Probed():
                        reporter.expect(message.info.duration * plan.fps)
                    case Decoded():
                        reporter.decoded(message.frames)
                    case DecodedWindow():
                        grid = grids[message.grid_size]
                        frames = message.batch.mask[message.keep].sum() / len(grids)
                        grid.add(self._window(request, grid, message, frames, reporter), message)
                    case Finished():
                        finished = message
                        past_span("decode", began, **_decode_attributes(message))
        for grid in grids.values():
            self._windows.store(request.video_id, request.model.manifest, grid.spec, grid.last[-1])
        return EncodedVideo(
            finished=finished,
            vectors={n: grid.vectors() for n, grid in grids.items()},
            encode_seconds={n: grid.watch.seconds["encode"] for n, grid in grids.items()},
        )

    def write(self, video_id: str, encoded: EncodedVideo) -> tuple[VectorFile, ...]:
        """Write a new, immutable file per grid size; they count once the catalogue names them."""
        return tuple(
            self._write(video_id, vectors, encoded.finished.frames)
            for vectors in encoded.vectors.values()
        )

    def discard(self, video_id: str, named: Callable[[], Iterable[VectorFile]]) -> None:
        """Remove what was encoded of a video and is not `named` by the catalogue."""
        self.forget_checkpoint(video_id)
        self._media.tidy(video_id, named)

    def forget_checkpoint(self, video_id: str) -> None:
        """Remove the windows of a video that needs no resuming any more."""
        Checkpoint(self._settings.folders, video_id).clear()

    def _plan(self, request: EncodeRequest) -> DecodePlan:
        manifest, settings, fps = request.model.manifest, self._settings, request.specs[0].fps
        path = self._media.original(request.video_id)
        if not path.is_file():
            raise NotFound(
                f"the uploaded file of video '{request.video_id}' is missing from the state "
                f"folder; restore media/{request.video_id} and retry, or upload the file again"
            )
        return DecodePlan(
            path=path,
            fps=fps,
            grids=tuple(
                GridPlan(
                    spec.grid_size,
                    spec.resolution,
                    None
                    if spec.grid_size in request.previewed
                    else self._media.previews(request.video_id, spec.grid_size, fps),
                )
                for spec in request.specs
            ),
            window=manifest.window,
            window_overlap=manifest.window_overlap,
            limits=Limits(settings.max_video_seconds, settings.max_frame_pixels),
            memory_bytes=settings.decode_memory_bytes,
        )

    def _window(
        self,
        request: EncodeRequest,
        grid: _Grid,
        window: DecodedWindow,
        frames: float,
        reporter: ProgressReporter,
    ) -> Float16:
        """The embeddings of a window, from its checkpoint or from Triton."""
        checkpoint = Checkpoint(self._settings.folders, request.video_id)
        restored = checkpoint.read(grid.spec, window.batch)
        if restored is not None:
            reporter.restored(frames)
            return restored
        with grid.watch.stage("encode"):
            embeddings = self._call(request.model.version, window.batch, reporter)
        self._telemetry.count(metrics.WINDOWS, grid_size=str(grid.spec.grid_size))
        # A window that is not full is the last, and the commit is next.
        if len(embeddings) == request.model.manifest.window:
            checkpoint.write(grid.spec, window.batch, embeddings)
        reporter.encoded(frames)
        return embeddings

    def _call(self, version: int, batch: SuperImageBatch, reporter: ProgressReporter) -> Float16:
        # A Triton that restarts costs patience, not the part of the video done so far.
        patiently = Retrying(
            retry=retry_if_exception_type((ModelUnavailable, Overloaded)),
            wait=wait_exponential(multiplier=0.5, max=10),
            stop=stop_after_delay(self._settings.triton_patience_seconds),
            sleep=sleep_using_event(self._stop),
            before=lambda _: reporter.enter("encode"),
            reraise=True,
        )
        encode = self._triton.encode_video
        embeddings: Float32 = patiently(encode, version, batch.pixels, batch.mask)
        return embeddings.astype(np.float16)

    def _write(self, video_id: str, vectors: VideoVectors, frames: int) -> VectorFile:
        spec = vectors.spec
        unique = uuid.uuid4().hex[:8]
        path = f"{video_id}/{spec.fingerprint}-n{spec.grid_size}-{unique}.npz"
        write_vectors(vectors, self._media.vectors(path))
        return VectorFile(
            video_id=video_id,
            **dict(spec),
            path=path,
            frames=frames,
            super_images=len(vectors.super_images),
            seconds=float(vectors.times[vectors.mask].max()),
        )


def _decode_attributes(finished: Finished) -> dict[str, float]:
    """What another process has measured; it has no spans of its own."""
    return {
        "frames": finished.frames,
        "probe_seconds": finished.probe_seconds,
        "decode_seconds": finished.decode_seconds,
        "tile_seconds": sum(finished.tile_seconds.values()),
    }
