"""Compares exact recall over 200,000 vectors with one plain pass over the same bytes."""

import numpy as np

from benchmarks.rows import Row, interleaved, machine
from qasir.index import Index
from qasir.manifest import EmbeddingSpec
from qasir.search import recall
from qasir.types import Float32
from qasir.vectors import VideoVectors

VIDEOS, UNITS, DIM = 10_000, 20, 512
REPEATS = 21


def run() -> list[Row]:
    """Returns one row: seconds of `qasir.search.recall` and of numpy's matrix-vector product."""
    rng = np.random.default_rng(0)
    index = filled(rng)
    query = unit(rng.standard_normal(DIM, dtype=np.float32))
    rows = rng.standard_normal((VIDEOS * UNITS, DIM), dtype=np.float32)
    ours, bare = interleaved(REPEATS, lambda: recall(index, query, 0.05), lambda: rows @ query)
    config = {"videos": VIDEOS, "units": UNITS, "dim": DIM, **machine()}
    return [Row("recall over one pass", ours, "s", bare, ours / bare, config)]


def filled(rng: np.random.Generator) -> Index:
    """Builds an index of random videos."""
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
    norms = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return np.asarray(vectors / norms, np.float32)
