"""A retriever's queries, its files, and the scorer against the numpy reference."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qasir.errors import CorruptArtifact, FingerprintMismatch, InvalidInput
from qasir.manifest import ScoreFusion
from qasir.modeling.adapters import TextAdapter
from qasir.modeling.retriever import (
    RETRIEVER_NAME,
    WEIGHTS_NAME,
    AttentionScorer,
    Retriever,
    learned_state,
    load_retriever,
    save_retriever,
    untrained,
    zero_shot,
)
from qasir.search import MASKED_LOG_WEIGHT
from tests.support.planted import DIM, FEATURES, PlantedBackbone, finetune_params
from tests.support.reference_scores import score_direct

BRANCHES = {
    1: ScoreFusion(super_image_weight=1.0, super_image_tau=0.3, cell_tau=0.1),
    2: ScoreFusion(super_image_weight=0.7, super_image_tau=0.1, cell_tau=0.05),
    4: ScoreFusion(super_image_weight=0.0, super_image_tau=0.2, cell_tau=0.02),
}


def unit_rows(*shape: int) -> Tensor:
    return nn.functional.normalize(torch.randn(*shape), dim=-1)


def retriever(**learned: object) -> Retriever:
    torch.manual_seed(4)
    made = untrained(PlantedBackbone(), finetune_params(learned).retriever, (1, 2))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    made.branches = {n: BRANCHES[n] for n in (1, 2)}
    return made.eval()


def out_of_distribution(text: TextAdapter, low: float, high: float) -> None:
    """Make queries outside the first axes out of distribution."""
    text.familiarity.directions.copy_(torch.eye(DIM)[:, : text.familiarity.directions.shape[1]])
    text.familiarity.edges.copy_(torch.tensor([low, high]))


@torch.no_grad()
@pytest.mark.parametrize("ratio", [0.0, 0.3, 1.0])
def test_similarity_is_the_mix_that_the_ratio_says(ratio: float) -> None:
    """q.u goes with r x zero-shot + (1 - r) x learned similarity, by one factor a query."""
    made = retriever()
    made.set_residual_ratio(ratio)
    features, mask = torch.randn(1, 3, 5, FEATURES), torch.ones(1, 3, 2, 2, dtype=torch.bool)
    embeddings, vectors = made.video(features, mask)[0, :, 0], unit_rows(4, DIM)
    queries = made.text(vectors)
    assert torch.allclose(queries.norm(dim=-1), torch.ones(4))
    assert isinstance(made.text, TextAdapter)
    known, learned = embeddings[:, :DIM] * 2**0.5, embeddings[:, DIM:] * 2**0.5
    mixed = ratio * vectors @ known.T + (1 - ratio) * made.text.learned(vectors) @ learned.T
    factor = (2 * (ratio**2 + (1 - ratio) ** 2)) ** 0.5
    assert torch.allclose(queries @ embeddings.T * factor, mixed, atol=1e-5)


@torch.no_grad()
def test_an_out_of_distribution_query_is_answered_by_zero_shot_alone() -> None:
    made = retriever()
    assert isinstance(made.text, TextAdapter)
    out_of_distribution(made.text, 0.2, 0.5)
    axes = torch.eye(DIM)
    familiar, unfamiliar = made.text(axes[:1]), made.text(axes[-1:])
    assert not familiar[0, :DIM].any()
    assert torch.allclose(unfamiliar[0], torch.cat([axes[-1], torch.zeros(8)]))
    # A third of the way from one edge to the other.
    between = torch.zeros(1, DIM)
    between[0, 0], between[0, -1] = (1 - 0.3**2) ** 0.5, 0.3
    assert torch.allclose(made.text.familiarity(between), torch.tensor([[1 / 3]]), atol=1e-5)


def test_before_it_is_fitted_no_query_is_out_of_distribution() -> None:
    made = retriever()
    assert isinstance(made.text, TextAdapter)
    assert not made.text.familiarity(unit_rows(9, DIM)).any()


def test_files_give_back_the_same_retriever(tmp_path: Path) -> None:
    made, backbone = retriever(), PlantedBackbone()
    made.set_residual_ratio(0.25)
    save_retriever(made, backbone, tmp_path)
    found = load_retriever(backbone, tmp_path)
    states = learned_state(made), learned_state(found)
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert (found.branches, found.dim, found.params) == (made.branches, made.dim, made.params)
    assert found.residual_ratio == 0.25
    assert not found.training
    features, mask = torch.randn(1, 3, 5, FEATURES), torch.ones(1, 3, 2, 2, dtype=torch.bool)
    assert torch.equal(found.video(features, mask), made.video(features, mask))


def test_equal_retrievers_have_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_retriever(retriever(), PlantedBackbone(), tmp_path / name)
    for name in (WEIGHTS_NAME, RETRIEVER_NAME):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_another_backbone_is_refused(tmp_path: Path) -> None:
    save_retriever(retriever(), PlantedBackbone(), tmp_path)
    other = PlantedBackbone()
    other.name = "other"
    with pytest.raises(FingerprintMismatch, match=r"'planted'.*'other'.*dvc repro finetune"):
        load_retriever(other, tmp_path)


@pytest.mark.parametrize("name", [WEIGHTS_NAME, RETRIEVER_NAME])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_damaged_files_are_refused(tmp_path: Path, name: str, damage: str) -> None:
    save_retriever(retriever(), PlantedBackbone(), tmp_path)
    path = tmp_path / name
    path.write_bytes(path.read_bytes()[:40])
    if damage == "missing":
        path.unlink()
    with pytest.raises(CorruptArtifact, match="dvc repro finetune"):
        load_retriever(PlantedBackbone(), tmp_path)


def test_weights_of_other_parts_are_refused(tmp_path: Path) -> None:
    save_retriever(retriever(), PlantedBackbone(), tmp_path)
    card = json.loads((tmp_path / RETRIEVER_NAME).read_text())
    card["params"]["temporal_encoder"] = False
    (tmp_path / RETRIEVER_NAME).write_text(json.dumps(card))
    with pytest.raises(CorruptArtifact, match="context"):
        load_retriever(PlantedBackbone(), tmp_path)


def test_zero_shot_has_nothing_to_save_and_no_ratio(tmp_path: Path) -> None:
    plain = zero_shot(PlantedBackbone(), BRANCHES)
    assert plain.dim == DIM
    assert plain.residual_ratio == 1
    with pytest.raises(InvalidInput, match="zero_shot"):
        save_retriever(plain, PlantedBackbone(), tmp_path)
    with pytest.raises(InvalidInput, match="no residual ratio"):
        plain.set_residual_ratio(0.5)


@pytest.mark.parametrize("ratio", [-0.1, 1.1])
def test_a_ratio_is_a_share(ratio: float) -> None:
    with pytest.raises(InvalidInput, match=str(ratio)):
        retriever().set_residual_ratio(ratio)


def log_weights(counts: Sequence[int]) -> Tensor:
    """float32 [1, C, sum of counts]: embeddings of C videos one after the other."""
    owners = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    mine = owners[None] == torch.arange(len(counts))[:, None]
    return (~mine).float()[None] * float(MASKED_LOG_WEIGHT)


@pytest.mark.parametrize("grid_size", sorted(BRANCHES))
def test_scores_are_the_reference_in_both_branches(grid_size: int) -> None:
    torch.manual_seed(grid_size)
    counts, cell_counts = (3, 1, 2), (9, 2, 7)
    query = unit_rows(1, 12)
    embeddings, cells = (
        unit_rows(1, sum(counts), 12).half(),
        unit_rows(1, sum(cell_counts), 12).half(),
    )
    weights = log_weights(counts), log_weights(cell_counts)
    scores, attention, cell_attention = AttentionScorer(BRANCHES)(
        query, embeddings, weights[0], cells, weights[1], torch.tensor([[grid_size]])
    )
    branches, q = BRANCHES[grid_size], query[0].numpy()
    own = np.split(embeddings[0].float().numpy(), np.cumsum(counts)[:-1])
    own_cells = np.split(cells[0].float().numpy(), np.cumsum(cell_counts)[:-1])
    for video in range(3):
        whole = score_direct(q, own[video], branches.super_image_tau)
        parts = score_direct(q, own_cells[video], branches.cell_tau)
        share = branches.super_image_weight
        expected = share * whole + (1 - share) * parts
        assert scores[0, video].item() == pytest.approx(expected, abs=1e-5)
    assert torch.allclose(attention.sum(-1), torch.ones(1, 3))
    assert torch.allclose(cell_attention.sum(-1), torch.ones(1, 3))
    assert attention[0, 0, 3:].max() == 0


def test_requests_of_one_batch_may_differ_in_grid_size() -> None:
    scorer = AttentionScorer(BRANCHES)
    query, embeddings, cells = unit_rows(2, 6), unit_rows(2, 3, 6).half(), unit_rows(2, 5, 6).half()
    weights, sizes = torch.zeros(2, 1, 3), torch.tensor([[2], [4]])
    cell_weights = torch.zeros(2, 1, 5)
    both = scorer(query, embeddings, weights, cells, cell_weights, sizes)[0]
    for i in (0, 1):
        one = slice(i, i + 1)
        inputs = (
            query[one],
            embeddings[one],
            weights[one],
            cells[one],
            cell_weights[one],
            sizes[one],
        )
        assert torch.allclose(scorer(*inputs)[0], both[one], atol=1e-6)


def test_a_grid_size_without_branches_has_no_score() -> None:
    inputs = unit_rows(1, 6), unit_rows(1, 3, 6).half(), torch.zeros(1, 1, 3)
    cells = unit_rows(1, 5, 6).half(), torch.zeros(1, 1, 5)
    assert AttentionScorer(BRANCHES)(*inputs, *cells, torch.tensor([[3]]))[0].isnan().all()
