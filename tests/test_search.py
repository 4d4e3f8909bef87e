"""Recall, unit selection, packing, reranking: every way to a score gives the same score."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qasir.errors import InvalidInput
from qasir.folding import EMBEDDINGS_PER_VIDEO, fold_embeddings, scorer_input
from qasir.index import Index
from qasir.manifest import ScoreFusion
from qasir.modeling.retriever import AttentionScorer
from qasir.scoring import blend
from qasir.search import (
    RankedVideos,
    ScorerInput,
    bucket,
    pack,
    rerank,
)
from qasir.types import Float16, Float32
from qasir.vectors import VideoVectors
from tests.support.reference_scores import score_direct, score_packed
from tests.support.vectors import SPEC, random_video, unit_rows

DIM = 24
GRID_SIZE = SPEC.grid_size


def vectors(rng: np.random.Generator, count: int) -> Float16:
    return unit_rows(rng, count, DIM).astype(np.float16)


def library(rng: np.random.Generator, frames: list[int]) -> dict[str, VideoVectors]:
    return {f"v{number}": random_video(rng, count, DIM) for number, count in enumerate(frames)}


def exact(query: Float32, videos: list[VideoVectors], branches: ScoreFusion) -> Float32:
    """Score both branches over all embeddings of each video, by the sum itself."""
    embeddings = [(v.super_images.astype(np.float32), v.cells.astype(np.float32)) for v in videos]
    whole = [score_direct(query, rows, branches.super_image_tau) for rows, _ in embeddings]
    parts = [score_direct(query, rows, branches.cell_tau) for _, rows in embeddings]
    return blend(np.array(whole, np.float32), np.array(parts, np.float32), branches)


def by_numpy(query: Float32, packed: ScorerInput, branches: ScoreFusion) -> Float32:
    whole = (packed.super_images.astype(np.float32), packed.log_weights, branches.super_image_tau)
    parts = (packed.cells.astype(np.float32), packed.cell_log_weights, branches.cell_tau)
    return blend(score_packed(query, *whole), score_packed(query, *parts), branches)


def by_torch(query: Float32, packed: ScorerInput, branches: ScoreFusion) -> Float32:
    scorer = AttentionScorer({GRID_SIZE: branches})
    arrays = (query, packed.super_images, packed.log_weights, packed.cells, packed.cell_log_weights)
    batch = [torch.from_numpy(array[None]) for array in arrays]
    scores, _, _ = scorer(*batch, torch.tensor([[GRID_SIZE]]))
    return np.asarray(scores[0].numpy(), np.float32)


@settings(deadline=None, max_examples=40)
@given(
    frames=st.lists(st.integers(1, 200), min_size=1, max_size=6),
    weight=st.sampled_from([0.0, 0.3, 1.0]),
    taus=st.tuples(st.sampled_from([0.02, 0.05, 0.5]), st.sampled_from([0.02, 0.1])),
    limit=st.sampled_from([1, 4, EMBEDDINGS_PER_VIDEO]),
    seed=st.integers(0, 500),
)
def test_recall_and_scorer_agree(
    frames: list[int], weight: float, taus: tuple[float, float], limit: int, seed: int
) -> None:
    """Exact recall over all embeddings equals the scorer, numpy and torch, over a folded few."""
    rng = np.random.default_rng(seed)
    videos, query = library(rng, frames), unit_rows(rng, DIM)
    branches = ScoreFusion(super_image_weight=weight, super_image_tau=taus[0], cell_tau=taus[1])
    found: list[Float32] = []
    for unit in ("super-image", "cell"):
        (recalled,) = Index.of(videos, unit).search(query[None], branches.tau(unit), len(videos))
        scores = dict(zip(recalled.ids, recalled.scores, strict=True))
        found.append(np.array([scores[video_id] for video_id in videos], np.float32))
    recalled_scores = blend(found[0], found[1], branches)
    packed = scorer_input(query, list(videos.values()), branches, 8, limit)
    expected = exact(query, list(videos.values()), branches)
    np.testing.assert_allclose(recalled_scores, expected, atol=1e-5)
    np.testing.assert_allclose(
        by_numpy(query, packed, branches)[: len(frames)], expected, atol=1e-3
    )
    np.testing.assert_allclose(
        by_torch(query, packed, branches)[: len(frames)], expected, atol=1e-3
    )


def test_recall_is_sorted_and_breaks_ties_by_id() -> None:
    rng = np.random.default_rng(1)
    videos, query = library(rng, [4, 9, 4]), unit_rows(rng, 1, DIM)
    videos |= {"v9": videos["v1"], "v0": videos["v1"]}
    (result,) = Index.of(videos, "cell").search(query, 0.05, 5)
    assert sorted(result.scores, reverse=True) == result.scores.tolist()
    place = {video_id: i for i, video_id in enumerate(result.ids)}
    assert place["v0"] < place["v1"] < place["v9"]


def test_short_videos_are_not_folded() -> None:
    rng = np.random.default_rng(2)
    rows = vectors(rng, EMBEDDINGS_PER_VIDEO + 1)
    candidate = fold_embeddings(unit_rows(rng, DIM), rows, np.arange(len(rows)), 0.05)
    np.testing.assert_array_equal(candidate.embeddings, rows)
    assert not candidate.log_weights.any()


def test_long_videos_keep_their_best_embeddings() -> None:
    rng = np.random.default_rng(3)
    query, rows = unit_rows(rng, DIM), vectors(rng, 200)
    candidate = fold_embeddings(query, rows, np.arange(200), 0.05, limit=16)
    best = np.argsort(-(rows.astype(np.float32) @ query))[:16]
    assert {row.tobytes() for row in candidate.embeddings[:16]} == {
        row.tobytes() for row in rows[best]
    }
    assert len(candidate.embeddings) == 17
    assert candidate.log_weights[:16].tolist() == [0] * 16


def test_a_branch_without_weight_costs_one_unit() -> None:
    rng = np.random.default_rng(4)
    videos, query = list(library(rng, [40, 9]).values()), unit_rows(rng, DIM)
    both = ScoreFusion(super_image_weight=0.5, super_image_tau=0.1, cell_tau=0.1)
    sizes = []
    for weight in (0.0, 0.5, 1.0):
        branches = both.model_copy(update={"super_image_weight": weight})
        packed = scorer_input(query, videos, branches, 2)
        sizes.append((len(packed.super_images), len(packed.cells)))
    assert sizes == [(1, 64), (64, 64), (64, 1)]


def test_padded_cells_are_not_sent() -> None:
    rng = np.random.default_rng(5)
    video = random_video(rng, 9, DIM)
    branches = ScoreFusion(super_image_weight=0, super_image_tau=0.1, cell_tau=0.1)
    packed = scorer_input(unit_rows(rng, DIM), [video], branches, 1, limit=8)
    assert (packed.cell_log_weights[0] == 0).sum() == 9
    np.testing.assert_array_equal(packed.cells[:9], video.cells)


def test_pack_refuses_what_does_not_fit() -> None:
    rng = np.random.default_rng(6)
    one = fold_embeddings(unit_rows(rng, DIM), vectors(rng, 5), np.arange(5), 0.05)
    for whole, parts in (([one] * 3, [one] * 3), ([one], [one] * 2), ([], [])):
        with pytest.raises(InvalidInput, match=f"{len(whole)} videos.*give 1 to 2"):
            pack(whole, parts, slots=2)


def test_buckets_are_few_and_waste_little() -> None:
    sizes = {bucket(n) for n in range(65, 1025)}
    assert len(sizes) == 11
    for n in range(65, 3000):
        assert n <= bucket(n) <= max(1.25 * n, n + 63)


def test_rerank_orders_the_best_and_leaves_the_rest() -> None:
    recalled = RankedVideos(("a", "b", "c", "d"), np.array([0.9, 0.8, 0.7, 0.6], np.float32))
    result = rerank(recalled, np.array([0.1, 0.5, 0.5], np.float32))
    assert result.ids == ("b", "c", "a", "d")
    np.testing.assert_allclose(result.scores, [0.5, 0.5, 0.1, 0.6])
    nothing = rerank(recalled, np.empty(0, np.float32))
    assert nothing.ids == recalled.ids


def test_rerank_breaks_ties_by_id() -> None:
    recalled = RankedVideos(("z", "m", "a"), np.array([0.9, 0.8, 0.7], np.float32))
    assert rerank(recalled, np.array([0.5, 0.5, 0.5], np.float32)).ids == ("a", "m", "z")


def test_rerank_refuses_more_scores_than_videos() -> None:
    with pytest.raises(InvalidInput, match="2 scores for a ranking of 1"):
        rerank(RankedVideos(("a",), np.ones(1, np.float32)), np.ones(2, np.float32))
