"""Small parts of a dataset: a demo in miniature, and videos as bare vectors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qasir.config import DemoParams
from qasir.manifest import Passport
from qasir.vectors import VideoVectors
from training.dataset import Query
from training.parts import Part

DIM = 8
RandomVideo = Callable[..., VideoVectors]


@pytest.fixture
def demo() -> DemoParams:
    """Three moments of about a second, 96 x 64 pixels."""
    return DemoParams(
        concepts=20,
        train_videos=2,
        val_videos=1,
        test_videos=1,
        moments=3,
        moment_seconds=(0.8, 1.4),
        width=96,
        height=64,
        fps=10,
    )


@pytest.fixture
def random_video() -> RandomVideo:
    """random_video(seed, count, grid_size=1): `count` random unit vectors, one second a cell."""

    def make(seed: int, count: int, grid_size: int = 1) -> VideoVectors:
        vectors = np.random.default_rng(seed).standard_normal((count, DIM))
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        cells = grid_size**2
        starts = np.arange(count * cells, dtype=np.float64).reshape(count, cells)
        return VideoVectors(
            Passport(fingerprint="f" * 16, grid_size=grid_size, resolution=64, fps=1.0),
            vectors.astype(np.float16),
            np.ones((count, cells), np.bool_),
            np.stack([starts, starts + 1], axis=-1),
        )

    return make


@pytest.fixture
def part(random_video: RandomVideo) -> Part:
    """Twelve videos at N = 1, a query for each that resembles one of its vectors, and filler."""
    videos = {f"v{i:02d}": random_video(i, 3 + i % 4) for i in range(12)}
    queries = [Query(f"{v}#enc#0", v, f"about {v}", 0.0, 1.0, 10.0) for v in videos]
    noise = np.random.default_rng(0).standard_normal((12, DIM)) * 0.25
    vectors = np.stack([video.vectors[1] for video in videos.values()]) + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return Part(1, queries, vectors.astype(np.float32), videos, random_video(99, 40))


@pytest.fixture(scope="session")
def annotations_folder() -> Path:
    """The real annotation files, beside the checkout; a visible skip elsewhere."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "annotations"
    if not folder.is_dir():
        pytest.skip(f"real annotation files are not at {folder}")
    return folder
