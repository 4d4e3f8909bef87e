"""The direct form, the Gram form and plain loops agree; tau has the limits it should."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qasir.manifest import ScoreFusion
from qasir.scoring import Pooling, attention, blend, pooling_weights
from qasir.types import Float32
from tests.support.reference_scores import score_direct, score_gram, score_packed

POOLINGS: tuple[Pooling, ...] = ("attention", "mean", "max")


def unit_rows(rng: np.random.Generator, count: int, dim: int) -> Float32:
    rows = rng.normal(size=(count, dim)).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def slow_score(query: Float32, vectors: Float32, tau: float) -> float:
    """QASIR's formula in Python floats, term by term."""
    similarities = [
        sum(float(a) * float(b) for a, b in zip(query, v, strict=True)) for v in vectors
    ]
    top = max(similarities)
    weights = [math.exp((s - top) / tau) for s in similarities]
    total = sum(weights)
    attended = [
        sum(w / total * float(v[d]) for w, v in zip(weights, vectors, strict=True))
        for d in range(len(query))
    ]
    norm = math.sqrt(sum(x * x for x in attended))
    return sum(float(q) * x for q, x in zip(query, attended, strict=True)) / norm


@given(
    seed=st.integers(0, 10_000),
    count=st.integers(1, 30),
    tau=st.sampled_from([0.01, 0.05, 0.2, 1.0]),
)
def test_both_forms_equal_the_formula(seed: int, count: int, tau: float) -> None:
    rng = np.random.default_rng(seed)
    vectors, query = unit_rows(rng, count, 16), unit_rows(rng, 1, 16)[0]
    expected = slow_score(query, vectors, tau)
    direct = score_direct(query, vectors, tau)
    gram = score_gram(vectors @ query, vectors @ vectors.T, tau)
    assert direct == pytest.approx(expected, abs=1e-5)
    assert gram == pytest.approx(direct, abs=1e-5)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_forms_agree_for_every_pooling(pooling: Pooling) -> None:
    rng = np.random.default_rng(3)
    vectors, query = unit_rows(rng, 12, 64), unit_rows(rng, 1, 64)[0]
    direct = score_direct(query, vectors, 0.05, pooling)
    gram = score_gram(vectors @ query, vectors @ vectors.T, 0.05, pooling)
    assert gram == pytest.approx(direct, abs=1e-5)


def test_tau_limits() -> None:
    rng = np.random.default_rng(4)
    vectors, query = unit_rows(rng, 9, 32), unit_rows(rng, 1, 32)[0]
    cold, hot = score_direct(query, vectors, 1e-4), score_direct(query, vectors, 1e4)
    assert cold == pytest.approx(score_direct(query, vectors, 1, "max"), abs=1e-5)
    assert cold == pytest.approx(float((vectors @ query).max()), abs=1e-5)
    assert hot == pytest.approx(score_direct(query, vectors, 1, "mean"), abs=1e-4)


def test_attention_is_a_distribution_at_any_tau() -> None:
    similarities = np.array([[-1, 1, 0.2], [1, 1, 1]], np.float32)
    for tau in (1e-3, 0.1, 10):
        weights = attention(similarities, tau)
        assert np.isfinite(weights).all()
        np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-6)


def test_max_weights_pick_one_of_equals() -> None:
    assert pooling_weights(np.array([0.5, 0.5, 0.1], np.float32), 0.1, "max").tolist() == [1, 0, 0]


def test_videos_side_by_side_score_as_alone() -> None:
    rng = np.random.default_rng(5)
    query, sizes = unit_rows(rng, 1, 16)[0], (3, 1, 8)
    embeddings = unit_rows(rng, sum(sizes) + 2, 16)
    log_weights = np.full((4, len(embeddings)), -1e9, np.float32)
    expected, begin = [], 0
    for row, size in enumerate(sizes):
        log_weights[row, begin : begin + size] = 0
        expected.append(slow_score(query, embeddings[begin : begin + size], 0.1))
        begin += size
    scores = score_packed(query, embeddings, log_weights, 0.1)
    np.testing.assert_allclose(scores[:3], expected, atol=1e-5)
    assert np.isfinite(scores).all()


def test_log_weight_is_a_prior() -> None:
    """An embedding with log weight log 3 counts like three equal ones."""
    rng = np.random.default_rng(6)
    query, embeddings = unit_rows(rng, 1, 16)[0], unit_rows(rng, 2, 16)
    thrice = embeddings[[0, 1, 1, 1]]
    weights = np.array([[0, math.log(3)]], np.float32)
    expected = slow_score(query, thrice, 0.2)
    assert score_packed(query, embeddings, weights, 0.2)[0] == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(("weight", "expected"), [(1.0, 0.9), (0.0, 0.1), (0.25, 0.3)])
def test_blend(weight: float, expected: float) -> None:
    branches = ScoreFusion(super_image_weight=weight, super_image_tau=0.1, cell_tau=0.1)
    scores = blend(np.array([0.9], np.float32), np.array([0.1], np.float32), branches)
    assert scores.dtype == np.float32
    assert scores[0] == pytest.approx(expected, abs=1e-6)
