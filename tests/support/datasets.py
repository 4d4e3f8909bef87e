"""Small parts of a dataset: a demo in miniature, and videos as bare vectors."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qasir.config import DemoParams
from qasir.manifest import EmbeddingSpec
from qasir.vectors import VideoVectors
from tests.support import vectors
from training.data.dataset import Query
from training.evaluate.corpus import EvalSplit

DIM = 8
FEATURE_DIM = 12
RandomVideo = Callable[..., VideoVectors]
RandomFeatures = Callable[..., VideoVectors]


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
    """random_video(seed, frames, grid_size=1): random unit vectors, one second a frame."""

    def make(seed: int, frames: int, grid_size: int = 1) -> VideoVectors:
        spec = EmbeddingSpec(fingerprint="f" * 16, grid_size=grid_size, resolution=64, fps=1.0)
        return vectors.random_video(np.random.default_rng(seed), frames, DIM, spec)

    return make


@pytest.fixture
def random_features(random_video: RandomVideo) -> RandomFeatures:
    """random_features(seed, frames, grid_size=1): random features of a video like that."""

    def make(seed: int, frames: int, grid_size: int = 1) -> VideoVectors:
        video = random_video(seed, frames, grid_size)
        shape = (*video.embeddings.shape[:2], FEATURE_DIM)
        features = np.random.default_rng(seed).standard_normal(shape).astype(np.float16)
        features[:, 1:][~video.mask] = 0
        return VideoVectors(video.spec, features, video.mask, video.times)

    return make


@pytest.fixture
def part(random_video: RandomVideo) -> EvalSplit:
    """Twelve videos at N = 2, a query for each that resembles one of its frames, and filler."""
    videos = {f"v{i:02d}": random_video(i, 9 + i % 4, 2) for i in range(12)}
    queries = [Query(f"{v}#enc#0", v, f"about {v}", 4.0, 5.0, 10.0) for v in videos]
    noise = np.random.default_rng(0).standard_normal((12, DIM)) * 0.25
    asked = np.stack([video.cells[4] for video in videos.values()]) + noise
    asked /= np.linalg.norm(asked, axis=1, keepdims=True)
    filler = tuple(random_video(90 + i, 12, 2) for i in range(6))
    return EvalSplit(2, queries, asked.astype(np.float32), videos, filler)


@pytest.fixture(scope="session")
def annotations_folder() -> Path:
    """The real annotation files, beside the checkout; a visible skip elsewhere."""
    folder = Path(__file__).resolve().parents[3] / "shared" / "data" / "annotations"
    if not folder.is_dir():
        pytest.skip(f"real annotation files are not at {folder}")
    return folder
