"""Videos of random unit vectors, as an encoder would have left them."""

import numpy as np

from qasir.manifest import EmbeddingSpec
from qasir.types import Float32
from qasir.vectors import VideoVectors

SPEC = EmbeddingSpec(fingerprint="f" * 16, grid_size=2, resolution=64, fps=1.0)


def unit_rows(rng: np.random.Generator, *shape: int) -> Float32:
    """float32 [..., D], every row of length 1."""
    rows = rng.normal(size=shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


def random_video(
    rng: np.random.Generator, frames: int, dim: int, spec: EmbeddingSpec = SPEC
) -> VideoVectors:
    """One frame a second; the last super image is padded where N * N does not divide F."""
    cells = spec.grid_size**2
    count = -(-frames // cells)
    mask = (np.arange(count * cells) < frames).reshape(count, cells)
    embeddings = unit_rows(rng, count, 1 + cells, dim)
    embeddings[:, 1:][~mask] = 0
    starts = np.arange(count * cells, dtype=np.float64).reshape(count, cells)
    times = np.stack([starts, starts + 1], -1) * mask[..., None]
    return VideoVectors(spec, embeddings.astype(np.float16), mask, times)
