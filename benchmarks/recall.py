"""Compares exact recall over 200,000 vectors with one plain pass over the same bytes."""

import numpy as np

from benchmarks.library import unit
from benchmarks.rows import Row, interleaved
from qasir.index import Index
from qasir.manifest import EmbeddingSpec
from qasir.types import Float16, Float32
from qasir.vectors import VideoVectors

VECTORS, DIM, BEST = 198_000, 512, 50
# Super images of a video: half a minute, six minutes and an hour at N = 2 and one frame a second.
LENGTHS = (9, 90, 900)
REPEATS, QUERIES, TAU = 21, 10, 0.05


def recall() -> list[Row]:
    """Return a row per length: seconds of `Index.search` and of numpy's matrix-vector product."""
    rng = np.random.default_rng(0)
    vectors = cone(rng, VECTORS, DIM)
    queries = unit(vectors[:: VECTORS // QUERIES] + unit(rng.standard_normal((1, DIM), np.float32)))
    return [_compared(vectors, queries, length) for length in LENGTHS]


def _compared(vectors: Float32, queries: Float32, length: int) -> Row:
    index, numbers = filled(vectors.astype(np.float16), length), iter(range(10 * REPEATS))

    def search() -> None:
        number = next(numbers) % QUERIES
        index.search(queries[number : number + 1], TAU, BEST)

    ours, plain = interleaved(REPEATS, search, lambda: vectors @ queries[0])
    config = {"videos": VECTORS // length, "units": length, "dim": DIM}
    return Row(f"recall over one pass, {length} a video", ours, "s", plain, ours / plain, config)


def filled(vectors: Float16, length: int, prefix: str = "v") -> Index:
    """Build an index of videos with `length` super images each, at N = 1."""
    spec = EmbeddingSpec(fingerprint="0" * 16, grid_size=1, resolution=224, fps=1.0)
    # The only cell of a super image is like it; a search does not read it.
    videos = np.stack([vectors, vectors], axis=1).reshape(-1, length, 2, vectors.shape[-1])
    mask, times = np.ones((length, 1), np.bool_), np.zeros((length, 1, 2))
    return Index.of(
        {f"{prefix}{i:08}": VideoVectors(spec, v, mask, times) for i, v in enumerate(videos)},
        "super-image",
    )


def cone(rng: np.random.Generator, count: int, dim: int) -> Float32:
    """Draw unit vectors as a vision-language model gives them: mean cosine .4, scenes of six."""
    scenes = np.repeat(rng.standard_normal((count // 6 + 1, dim), np.float32), 6, axis=0)[:count]
    vectors = 0.7 * scenes + 0.5 * rng.standard_normal((count, dim), np.float32)
    vectors /= np.float32(np.sqrt(dim))
    vectors[:, :4] += 0.35
    return unit(vectors)
