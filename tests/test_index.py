"""The index against the per-video reference, through additions, replacements and removals."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qasir.errors import FingerprintMismatch, NotFound
from qasir.index import Index
from qasir.manifest import Passport
from qasir.scoring import score_direct
from qasir.types import Float32
from qasir.vectors import VideoVectors

DIM = 32
PASSPORT = Passport(fingerprint="f" * 16, grid_size=2, resolution=64, fps=1.0)


def video(rng: np.random.Generator, count: int, passport: Passport = PASSPORT) -> VideoVectors:
    rows = rng.normal(size=(count, DIM))
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    times = np.zeros((count, 4, 2))
    return VideoVectors(passport, rows.astype(np.float16), np.ones((count, 4), np.bool_), times)


def query(rng: np.random.Generator, count: int = 1) -> Float32:
    rows = rng.normal(size=(count, DIM))
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


@settings(deadline=None)
@given(
    steps=st.lists(
        st.tuples(st.sampled_from("pppd"), st.integers(0, 8), st.sampled_from([1, 2, 8, 9, 40])),
        max_size=40,
    ),
    seed=st.integers(0, 1000),
)
def test_scores_equal_the_reference(steps: list[tuple[str, int, int]], seed: int) -> None:
    """S = 40 is past D / 4: the direct form serves it, the others have Gram matrices."""
    rng = np.random.default_rng(seed)
    index, held = Index(PASSPORT, DIM), dict[str, VideoVectors]()
    for kind, name, size in steps:
        video_id = f"v{name}"
        if kind == "p":
            held[video_id] = video(rng, size)
            index.put(video_id, held[video_id])
        else:
            held.pop(video_id, None)
            index.drop(video_id)
    queries = query(rng, 3)
    ids, scores = index.scores(queries, 0.05)
    assert sorted(ids) == sorted(held)
    assert len(index) == len(held)
    assert index.super_images == sum(len(v.vectors) for v in held.values())
    for column, video_id in enumerate(ids):
        rows = held[video_id].vectors.astype(np.float32)
        expected = [score_direct(q, rows, 0.05) for q in queries]
        np.testing.assert_allclose(scores[:, column], expected, atol=1e-5)


def test_more_queries_than_one_batch() -> None:
    rng = np.random.default_rng(0)
    index = Index(PASSPORT, DIM)
    for i in range(5):
        index.put(f"v{i}", video(rng, 3))
    queries = query(rng, 150)
    _, together = index.scores(queries, 0.05)
    alone = np.concatenate([index.scores(q[None], 0.05)[1] for q in queries])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_empty_index() -> None:
    ids, scores = Index(PASSPORT, DIM).scores(query(np.random.default_rng(0), 2), 0.05)
    assert ids == []
    assert scores.shape == (2, 0)


def test_other_passport_is_refused() -> None:
    other = PASSPORT.model_copy(update={"fingerprint": "0" * 16})
    with pytest.raises(FingerprintMismatch) as caught:
        Index(PASSPORT, DIM).put("a", video(np.random.default_rng(0), 2, other))
    assert "0" * 16 in str(caught.value)
    assert "f" * 16 in str(caught.value)


def test_unknown_video() -> None:
    with pytest.raises(NotFound, match="'nope'"):
        Index(PASSPORT, DIM).get("nope")
