"""One video from its file to its vectors: windows in, Triton's units out, commit."""

import threading
import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential
from tenacity.nap import sleep_using_event

from qasir.errors import ModelUnavailable, Overloaded
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
from service.settings import Settings
from service.storage.checkpoints import Checkpoint
from service.storage.media import MediaStore


class VideoEncoder(Protocol):
    """The part of `qasir.triton.Triton` that an ingest needs."""

    def encode_video(self, version: int, pixels: Uint8, mask: Bool) -> Float32:
        """Units float32 [S, 1+P, D] of super images uint8 [S, R, R, 3], mask bool [S, P]."""


@dataclass(frozen=True)
class EncodedVideo:
    """What an ingest has to commit, by grid size, and where the time went."""

    finished: Finished
    vectors: dict[int, VideoVectors]
    encode_seconds: dict[int, float]


@dataclass(frozen=True)
class _Parts:
    """Windows of one grid size as they come."""

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

    def vectors(self, spec: EmbeddingSpec) -> VideoVectors:
        return VideoVectors(
            spec,
            np.concatenate(self.embeddings),
            np.concatenate(self.masks),
            np.concatenate(self.times),
        )


class Encoding:
    """Encodes videos with one model under specs of it, all of one fps.

    drawn: grid sizes whose sheets are there already.
    """

    def __init__(
        self,
        settings: Settings,
        media: MediaStore,
        triton: VideoEncoder,
        model: ModelVersion,
        specs: Sequence[EmbeddingSpec],
        telemetry: Telemetry,
        stop: threading.Event,
        drawn: Collection[int] = (),
    ) -> None:
        self._settings = settings
        self._media = media
        self._windows = WindowStore(settings.folders, settings.disk_reserve_bytes)
        self._triton = triton
        self._model = model
        self._telemetry = telemetry
        self._specs = {spec.grid_size: spec for spec in specs}
        self._fps = specs[0].fps
        self._stop = stop
        self._drawn = drawn

    def run(self, video_id: str, course: ProgressReporter) -> EncodedVideo:
        """Decode a video and encode it window by window, but for those encoded before a stop.

        Raises:
            QasirError: the file is at fault, or Triton stayed away for too long.
            JobLost, Stopping: see `Course`.
        """
        parts = {n: _Parts() for n in self._specs}
        watches = {n: Stopwatch() for n in self._specs}
        checkpoint = Checkpoint(self._settings.folders, video_id)
        began = time.time()
        with Decoder(self._plan(video_id), self._settings.decode_stall_seconds) as decoder:
            for message in decoder.messages(idle=course.check):
                match message:
                    case Probed():
                        course.expect(message.info.duration * self._fps)
                    case Decoded():
                        course.decoded(message.frames)
                    case DecodedWindow():
                        size = message.grid_size
                        frames = message.batch.mask[message.keep].sum() / len(parts)
                        spec, batch = self._specs[size], message.batch
                        if (embeddings := checkpoint.read(spec, batch)) is not None:
                            course.restored(frames)
                        else:
                            with watches[size].stage("encode"):
                                embeddings = self._encode_batch(batch, course)
                            self._keep(checkpoint, spec, batch, embeddings)
                            course.encoded(frames)
                        parts[size].add(embeddings, message)
                    case Finished():
                        finished = message
                        past_span("decode", began, **_decoded(message))
        for n, p in parts.items():
            self._windows.store(video_id, self._model.manifest, self._specs[n], p.last[-1])
        return EncodedVideo(
            finished=finished,
            vectors={n: p.vectors(self._specs[n]) for n, p in parts.items()},
            encode_seconds={n: watch.seconds["encode"] for n, watch in watches.items()},
        )

    def _plan(self, video_id: str) -> DecodePlan:
        manifest, settings, fps = self._model.manifest, self._settings, self._fps
        return DecodePlan(
            path=self._media.original(video_id),
            fps=fps,
            grids=tuple(
                GridPlan(
                    n,
                    spec.resolution,
                    None if n in self._drawn else self._media.previews(video_id, n, fps),
                )
                for n, spec in self._specs.items()
            ),
            window=manifest.window,
            window_overlap=manifest.window_overlap,
            limits=Limits(settings.max_video_seconds, settings.max_frame_pixels),
            memory_bytes=settings.decode_memory_bytes,
        )

    def _keep(
        self,
        checkpoint: Checkpoint,
        spec: EmbeddingSpec,
        batch: SuperImageBatch,
        embeddings: Float16,
    ) -> None:
        self._telemetry.count(metrics.WINDOWS, grid_size=str(spec.grid_size))
        # A window that is not full is the last, and the commit is next.
        if len(embeddings) == self._model.manifest.window:
            checkpoint.write(spec, batch, embeddings)

    def _encode_batch(self, batch: SuperImageBatch, course: ProgressReporter) -> Float16:
        # A Triton that restarts costs patience, not the part of the video done so far.
        patiently = Retrying(
            retry=retry_if_exception_type((ModelUnavailable, Overloaded)),
            wait=wait_exponential(multiplier=0.5, max=10),
            stop=stop_after_delay(self._settings.triton_patience_seconds),
            sleep=sleep_using_event(self._stop),
            before=lambda _: course.enter("encode"),
            reraise=True,
        )
        ask, version = self._triton.encode_video, self._model.version
        embeddings: Float32 = patiently(ask, version, batch.pixels, batch.mask)
        return embeddings.astype(np.float16)


def _decoded(finished: Finished) -> dict[str, float]:
    """What another process has measured; it has no spans of its own."""
    return {
        "frames": finished.frames,
        "probe_seconds": finished.probe_seconds,
        "decode_seconds": finished.decode_seconds,
        "tile_seconds": sum(finished.tile_seconds.values()),
    }


def write_files(encoded: EncodedVideo, video_id: str, media: MediaStore) -> tuple[VectorFile, ...]:
    """Write a new, immutable file per grid size; they count once the catalogue names them."""
    return tuple(_write(encoded, vectors, video_id, media) for vectors in encoded.vectors.values())


def _write(
    encoded: EncodedVideo, vectors: VideoVectors, video_id: str, media: MediaStore
) -> VectorFile:
    spec = vectors.spec
    unique = uuid.uuid4().hex[:8]
    path = f"{video_id}/{spec.fingerprint}-n{spec.grid_size}-{unique}.npz"
    write_vectors(vectors, media.vectors(path))
    return VectorFile(
        video_id=video_id,
        fingerprint=spec.fingerprint,
        grid_size=spec.grid_size,
        resolution=spec.resolution,
        fps=spec.fps,
        path=path,
        frames=encoded.finished.frames,
        super_images=len(vectors.embeddings),
        seconds=float(vectors.times[vectors.mask].max()),
    )
