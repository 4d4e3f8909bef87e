"""A search engine in this process: a real Triton, a real catalogue, videos of known vectors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from qasir.contract.search import SearchRequest, SearchResponse
from qasir.manifest import EmbeddingSpec, Manifest
from qasir.triton import Triton
from qasir.types import Float32, VideoInfo
from qasir.vectors import VideoVectors, write_vectors
from service.app import open_engine
from service.catalogue.catalogue import Catalogue
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video
from service.models.deployment import ModelVersion
from service.models.store import ModelStore
from service.observability.metrics import SERVICE_METRICS
from service.observability.telemetry import Telemetry
from service.search.engine import SearchEngine
from service.settings import Settings
from service.storage.media import MediaStore
from tests.support.service import service_settings
from tests.support.triton import RunningTriton
from tests.support.vectors import random_video, unit_rows


class Archive:
    """Videos at N = 1 and 2, side by side, and the engine that searches them."""

    def __init__(self, settings: Settings, triton: Triton) -> None:
        self.settings = settings
        self.triton = triton
        self.catalogue = Catalogue(settings.folders.catalogue)
        self.media = MediaStore(settings.folders, 1 << 20, 0)
        self.model = self._both_grids(ModelStore(settings.state).find_active())
        self.engine = self.another_engine()
        self.rng = np.random.default_rng(0)

    @property
    def manifest(self) -> Manifest:
        return self.model.manifest

    def spec(self, grid_size: int) -> EmbeddingSpec:
        return self.manifest.spec(grid_size)

    def another_engine(self) -> SearchEngine:
        """As a second process has it."""
        return open_engine(
            self.settings,
            self.catalogue,
            self.media,
            self.triton,
            lambda: self.model,
            Telemetry(SERVICE_METRICS),
        )

    def score_by_super_images(self) -> None:
        """Recall, moments and examples leave cells out from now on; the scorer's weights stay."""
        known = self.manifest.branches.items()
        branches = {n: b.model_copy(update={"super_image_weight": 1.0}) for n, b in known}
        manifest = self.manifest.model_copy(update={"branches": branches})
        self.model = replace(self.model, manifest=manifest)

    def add(self, name: str, frames: int = 8, **facts: Any) -> str:
        """Commit a video of random vectors around a direction of its own; its id."""
        own = unit_rows(self.rng, self.manifest.dim)
        vectors = [self._around(own, frames, self.spec(n)) for n in (1, 2)]
        return self.add_vectors(name, *vectors, **facts)

    def add_vectors(self, name: str, *vectors: VideoVectors, **facts: Any) -> str:
        """Commit a video of these vectors; its id."""
        video = Video(f"v{name}", name, {}, name, 1, 0, 0, 0, "", "", "queued", 1.0)
        self.catalogue.videos.accept(replace(video, **facts))
        mine = self.catalogue.queue.claim("me")
        assert mine is not None
        files = [self._write(video.id, one) for one in vectors]
        info = VideoInfo(files[0].seconds, 64, 48, 10.0, "h264", "mov,mp4", 0)
        assert self.catalogue.queue.commit(mine, info, files)
        return video.id

    def search(self, query: str | None = "a red ball", **options: Any) -> SearchResponse:
        return self.engine.search(SearchRequest(query=query, **options))

    def _around(self, own: Float32, frames: int, spec: EmbeddingSpec) -> VideoVectors:
        video = random_video(self.rng, frames, len(own), spec)
        embeddings = video.embeddings.astype(np.float32) + own
        embeddings /= np.linalg.norm(embeddings, axis=-1, keepdims=True)
        embeddings[:, 1:][~video.mask] = 0
        return replace(video, embeddings=embeddings.astype(np.float16))

    def _write(self, video_id: str, vectors: VideoVectors) -> VectorFile:
        spec = vectors.spec
        path = f"{video_id}/{spec.grid_size}.npz"
        write_vectors(vectors, self.media.vectors(path))
        facts = (spec.fingerprint, spec.grid_size, spec.resolution, spec.fps, path)
        seconds = float(vectors.times[vectors.mask].max())
        return VectorFile(video_id, *facts, len(vectors.cells), len(vectors.embeddings), seconds)

    def _both_grids(self, model: ModelVersion) -> ModelVersion:
        profile = model.manifest.profile.model_copy(update={"grid_sizes": (2, 1)})
        return replace(model, manifest=model.manifest.model_copy(update={"profile": profile}))


@contextmanager
def opened_archive(server: RunningTriton, folder: Path, **limits: Any) -> Iterator[Archive]:
    """An archive that is empty yet."""
    settings = service_settings(server, folder / "state").model_copy(update=limits)
    with Triton(settings.triton_url) as triton:
        archive = Archive(settings, triton)
        yield archive
        archive.catalogue.close()
