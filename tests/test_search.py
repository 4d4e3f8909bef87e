"""Recall, unit selection and packing: every way to a score gives the same score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qasir.errors import InvalidInput
from qasir.index import Index
from qasir.manifest import Passport
from qasir.modeling.retriever import AttentionScorer
from qasir.scoring import score_direct
from qasir.search import pack, recall, select_units, unpack_attention, z_scores
from qasir.types import Float16, Float32
from qasir.vectors import VideoVectors

DIM = 24
PASSPORT = Passport(fingerprint="a" * 16, grid_size=1, resolution=64, fps=1.0)


def rows(rng: np.random.Generator, count: int) -> Float16:
    values = rng.normal(size=(count, DIM))
    return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float16)


def one_query(rng: np.random.Generator) -> Float32:
    values = rng.normal(size=DIM)
    return np.asarray(values / np.linalg.norm(values), np.float32)


def library(rng: np.random.Generator, sizes: list[int]) -> Index:
    index = Index(PASSPORT, DIM)
    for number, size in enumerate(sizes):
        mask = np.ones((size, 1), np.bool_)
        vectors = VideoVectors(PASSPORT, rows(rng, size), mask, np.zeros((size, 1, 2)))
        index.put(f"v{number}", vectors)
    return index


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=8),
    tau=st.sampled_from([0.02, 0.05, 0.5]),
    seed=st.integers(0, 500),
)
def test_recall_and_scorer_agree(sizes: list[int], tau: float, seed: int) -> None:
    """Exact recall over all units = the scorer over 16 units and the folded rest."""
    rng = np.random.default_rng(seed)
    index, query = library(rng, sizes), one_query(rng)
    recalled = recall(index, query, tau)
    candidates = [select_units(query, index.get(v).vectors, tau) for v in recalled.ids]
    packed = pack(candidates, videos=10, units=10 * 17)
    arrays = (query[None], packed.units[None], packed.log_weights[None])
    scores, attention = AttentionScorer(tau)(*map(torch.from_numpy, arrays))
    np.testing.assert_allclose(scores[0, : len(sizes)], recalled.scores, atol=1e-3)
    parts = unpack_attention(attention[0].numpy(), candidates)
    assert [len(part) for part in parts] == [len(c.units) for c in candidates]
    np.testing.assert_allclose([part.sum() for part in parts], 1, atol=1e-5)


def test_recall_is_sorted_and_breaks_ties_by_id() -> None:
    rng = np.random.default_rng(1)
    index, query = library(rng, [4, 4, 4]), one_query(rng)
    index.put("v9", index.get("v1"))
    index.put("v0", index.get("v1"))
    result = recall(index, query, 0.05)
    assert sorted(result.scores, reverse=True) == result.scores.tolist()
    place = {video_id: i for i, video_id in enumerate(result.ids)}
    assert place["v0"] < place["v1"] < place["v9"]


def test_short_videos_are_not_folded() -> None:
    rng = np.random.default_rng(2)
    candidate = select_units(one_query(rng), rows(rng, 16), 0.05)
    assert candidate.positions.tolist() == list(range(16))
    assert not candidate.log_weights.any()


def test_long_videos_keep_their_best_units_in_order() -> None:
    rng = np.random.default_rng(3)
    query, vectors = one_query(rng), rows(rng, 200)
    candidate = select_units(query, vectors, 0.05)
    best = np.argsort(-(vectors.astype(np.float32) @ query))[:16]
    assert candidate.positions.tolist() == [*sorted(best.tolist()), -1]
    expected = score_direct(query, vectors.astype(np.float32), 0.05)
    packed = pack([candidate], 1, 17)
    arrays = (query[None], packed.units[None], packed.log_weights[None])
    scores, _ = AttentionScorer(0.05)(*map(torch.from_numpy, arrays))
    assert float(scores[0, 0]) == pytest.approx(expected, abs=1e-3)


def test_pack_refuses_what_does_not_fit() -> None:
    rng = np.random.default_rng(4)
    candidate = select_units(one_query(rng), rows(rng, 5), 0.05)
    with pytest.raises(InvalidInput, match="2 candidates with 10 units"):
        pack([candidate, candidate], videos=4, units=9)


def test_z_scores() -> None:
    values = z_scores(np.array([1, 2, 3], np.float32))
    assert values.mean() == pytest.approx(0, abs=1e-6)
    assert values.std() == pytest.approx(1, abs=1e-5)
    assert z_scores(np.empty(0, np.float32)).shape == (0,)
