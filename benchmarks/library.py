"""Libraries of random videos: exact recall over one, and a state folder as after ingestion."""

from functools import partial
from pathlib import Path

import numpy as np
from sqlalchemy import insert

from benchmarks.rows import Row, interleaved
from qasir.index import Index
from qasir.manifest import EmbeddingSpec, Manifest
from qasir.search import recall as recall_videos
from qasir.types import Float32
from qasir.vectors import VideoVectors, write_vectors
from service.catalogue import schema, vector_files, videos
from service.catalogue.db import Database
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video
from service.settings import Settings

SUPER_IMAGES = 9
# Of the benchmark `recall`.
VIDEOS, UNITS, DIM, REPEATS = 10_000, 20, 512, 21


def recall() -> list[Row]:
    """Return seconds of recall over 200,000 vectors; the baseline is numpy's product of them."""
    rng = np.random.default_rng(0)
    index = filled(rng)
    query = unit(rng.standard_normal(DIM, dtype=np.float32))
    rows = rng.standard_normal((VIDEOS * UNITS, DIM), dtype=np.float32)
    recall_all = partial(recall_videos, index, query, 0.05)
    ours, bare = interleaved(REPEATS, recall_all, lambda: rows @ query)
    config = {"videos": VIDEOS, "units": UNITS, "dim": DIM}
    return [Row("recall over one pass", ours, "s", bare, ours / bare, config)]


def filled(rng: np.random.Generator) -> Index:
    spec = EmbeddingSpec(fingerprint="0" * 16, grid_size=2, resolution=256, fps=1.0)
    index = Index(spec, DIM, "super-image")
    mask, times = np.ones((UNITS, 4), np.bool_), np.zeros((UNITS, 4, 2))
    for number in range(VIDEOS):
        rows = unit(rng.standard_normal((UNITS, DIM), dtype=np.float32)).astype(np.float16)
        # Cells like their picture take no memory, and recall does not look at them.
        embeddings = np.broadcast_to(rows[:, None], (UNITS, 5, DIM))
        index.put(f"v{number:05}", VideoVectors(spec, embeddings, mask, times))
    return index


def unit(vectors: Float32) -> Float32:
    """Scale vectors [..., D] to length 1."""
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / norms, np.float32)


def random_vectors(rng: np.random.Generator, spec: EmbeddingSpec, dim: int) -> VideoVectors:
    """Draw SUPER_IMAGES super images with real cells only."""
    cells = spec.grid_size**2
    embeddings = unit(rng.standard_normal((SUPER_IMAGES, 1 + cells, dim), dtype=np.float32))
    starts = np.arange(SUPER_IMAGES * cells, dtype=np.float64).reshape(SUPER_IMAGES, cells)
    times = np.stack([starts, starts + 1], -1) / spec.fps
    mask = np.ones((SUPER_IMAGES, cells), np.bool_)
    return VideoVectors(spec, embeddings.astype(np.float16), mask, times)


def fill(settings: Settings, manifest: Manifest, count: int) -> None:
    """Write `count` videos and registers them in one transaction."""
    settings.folders.create()
    rng = np.random.default_rng(0)
    spec = manifest.spec(manifest.profile.grid_sizes[0])
    database = Database(settings.folders.catalogue)
    with database.writing() as connection:
        for number in range(count):
            vectors = random_vectors(rng, spec, manifest.dim)
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
