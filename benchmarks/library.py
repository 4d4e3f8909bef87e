"""A library of random videos: a state folder as after ingestion."""

from pathlib import Path

import numpy as np
from sqlalchemy import insert

from qasir.manifest import EmbeddingSpec, Manifest
from qasir.types import Float32
from qasir.vectors import VideoVectors, write_vectors
from service.catalogue import schema, vector_files, videos
from service.catalogue.db import Database
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video
from service.settings import Settings

SUPER_IMAGES = 9


def unit(vectors: Float32) -> Float32:
    """Scale vectors [..., D] to length 1."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / norms, np.float32)


def random_vectors(
    rng: np.random.Generator, spec: EmbeddingSpec, dim: int, count: int = SUPER_IMAGES
) -> VideoVectors:
    """Draw `count` super images with real cells only."""
    cells = spec.grid_size**2
    embeddings = unit(rng.standard_normal((count, 1 + cells, dim), dtype=np.float32))
    starts = np.arange(count * cells, dtype=np.float64).reshape(count, cells)
    times = np.stack([starts, starts + 1], -1) / spec.fps
    mask = np.ones((count, cells), np.bool_)
    return VideoVectors(spec, embeddings.astype(np.float16), mask, times)


def fill(settings: Settings, manifest: Manifest, count: int, super_images: int) -> None:
    """Write `count` videos of `super_images` each and register them in one transaction."""
    settings.folders.create()
    rng = np.random.default_rng(0)
    spec = manifest.spec(manifest.profile.grid_sizes[0])
    database = Database(settings.folders.catalogue)
    with database.writing() as connection:
        for number in range(count):
            vectors = random_vectors(rng, spec, manifest.dim, super_images)
            video, file = _rows(number, vectors)
            write_vectors(vectors, settings.folders.vectors / file.path)
            videos.add(connection, video)
            vector_files.add(connection, file)
        change = {"kind": "indexed", "video_id": video.id}
        connection.execute(insert(schema.changes).values(change))
    database.close()


def _rows(number: int, vectors: VideoVectors) -> tuple[Video, VectorFile]:
    video_id, spec = f"v{number:020x}", vectors.spec
    seconds = float(vectors.times.max())
    title, digest = f"video {number}", f"{number:064x}"
    return (
        Video(video_id, title, {}, digest, 1, seconds, 1, 1, "h264", "mp4", "ready", 0.0),
        VectorFile(
            video_id,
            **dict(spec),
            path=str(Path(video_id) / "r.npz"),
            frames=vectors.mask.size,
            super_images=len(vectors.embeddings),
            seconds=seconds,
        ),
    )
