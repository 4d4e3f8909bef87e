"""The closed-form start: it finds the frames that captions speak of, and says what is strange."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from qasir.modeling.adapters import TextAdapter
from qasir.modeling.temporal_encoder import LearnedEmbeddings
from tests.support.planted import DIM, FEATURES, MOMENT_FRAMES, finetune_params, planted
from training.train.alignment import (
    LARGEST_SAMPLE,
    align,
    fit_familiarity,
    principal,
    ridge,
    sample,
    whiten,
)
from training.train.batches import CaptionDataset
from training.train.trainer import TrainingData

DIRECTIONS = 12


def parts(**learned: object) -> tuple[LearnedEmbeddings, TextAdapter]:
    torch.manual_seed(0)
    params = finetune_params({"temporal_encoder": False} | learned).retriever
    embeddings = LearnedEmbeddings(FEATURES, DIM, params, (1, 2))
    dim = params.dim if params.image_adapter and params.text_adapter else DIM
    return embeddings.eval(), TextAdapter(DIM, dim, adapts=params.text_adapter, dropout=0.0).eval()


def aligned(data: TrainingData, **learned: object) -> tuple[LearnedEmbeddings, TextAdapter]:
    units, text = parts(**learned)
    align(units, text, data.train, data.provider, data.grid_sizes, DIRECTIONS)
    return units, text


@torch.no_grad()
def found_share(
    data: TrainingData, embeddings: LearnedEmbeddings, text: TextAdapter, n: int
) -> float:
    """How often the cell nearest to a caption of validation lies in its moment."""
    hits = []
    for place, video_id in enumerate(data.val.video_ids):
        texts, _ = data.val.of([place])
        batch = data.provider.videos([video_id], n)
        known = data.provider.videos([video_id], n).zero_shot
        assert known is not None
        cells = embeddings(batch.features, known, batch.mask)[0, :, 1:][batch.mask[0].flatten(1)]
        nearest = (text.learned(data.provider.queries(texts)) @ cells.T).argmax(1)
        moments = torch.arange(len(texts))
        hits += (nearest // MOMENT_FRAMES == moments).tolist()
    return float(np.mean(hits))


@pytest.mark.parametrize("grid_size", [1, 2])
def test_captions_find_their_moments_in_videos_never_seen(grid_size: int) -> None:
    data = planted(train=40)
    assert found_share(data, *aligned(data), grid_size) > 0.75
    assert found_share(data, *parts(), grid_size) < 0.5


def test_one_map_for_all_grid_sizes_is_fitted_to_all() -> None:
    data = planted(train=40)
    embeddings, text = aligned(data, grid_embedding=False)
    assert min(found_share(data, embeddings, text, n) for n in (1, 2)) > 0.7


def test_without_an_image_adapter_captions_stay_as_they_are() -> None:
    _, text = aligned(planted(train=6, val=2), image_adapter=False)
    query = nn.functional.normalize(torch.randn(3, DIM), dim=-1)
    assert torch.allclose(text.learned(query), query, atol=1e-6)


def test_without_a_text_adapter_units_come_to_the_captions() -> None:
    data = planted(train=40)
    assert found_share(data, *aligned(data, text_adapter=False), 1) > 0.7


def test_whitening_makes_directions_equal() -> None:
    rows = torch.randn(4000, 6) * torch.tensor([9.0, 5.0, 2.0, 1.0, 0.1, 0.01]) + 3
    white = whiten(rows, 3)(rows)
    assert torch.allclose(white.mean(0), torch.zeros(3), atol=1e-3)
    covariance = white.T @ white / len(white)
    # Shrinkage leaves every variance a little below one, the weaker the more.
    assert torch.allclose(covariance, torch.diag(covariance.diag()), atol=1e-2)
    assert 1 > covariance[0, 0] > covariance[1, 1] > covariance[2, 2] > 0.3


def test_principal_directions_are_those_of_a_singular_value_decomposition() -> None:
    rows = torch.randn(50, 5) * torch.tensor([4.0, 3.0, 2.0, 1.0, 0.5])
    mean, directions, variances = principal(rows, 2)
    _, values, axes = torch.linalg.svd(rows - rows.mean(0), full_matrices=False)
    assert torch.allclose(mean, rows.mean(0))
    assert torch.allclose((directions.T @ axes[:2].T).abs(), torch.eye(2), atol=1e-4)
    assert torch.allclose(variances, values[:2] ** 2 / 50, rtol=1e-4)


def test_ridge_has_no_slope_left() -> None:
    """The gradient of squared error and penalty is zero where it stands."""
    inputs, targets = torch.randn(30, 4), torch.randn(30, 3)
    weight = ridge(inputs, targets)
    penalty = 30 * inputs.square().mean()
    slope: Tensor = inputs.T @ (inputs @ weight - targets) + penalty * weight
    assert slope.abs().max() < 1e-4


@given(st.integers(2, 3 * LARGEST_SAMPLE))
def test_no_more_videos_than_memory_is_bounded_to(videos: int) -> None:
    ids = tuple(str(i) for i in range(videos))
    chosen = sample(CaptionDataset(ids, (), np.zeros(0, np.int64)))
    assert len(chosen) == min(videos, LARGEST_SAMPLE)
    assert chosen == sorted(set(chosen))
    assert 0 <= chosen[0] <= chosen[-1] < videos


def test_strange_queries_are_told_from_captions() -> None:
    """Captions span three of sixteen directions; validation strays a little."""
    torch.manual_seed(1)
    text = TextAdapter(DIM, 3, adapts=True, dropout=0.0)
    plane = torch.linalg.qr(torch.randn(DIM, 3)).Q

    def captions(noise: float) -> Tensor:
        rows = torch.randn(200, 3) @ plane.T + noise * torch.randn(200, DIM)
        return nn.functional.normalize(rows, dim=-1)

    fit_familiarity(text, captions(0.05), captions(0.1))
    low, high = text.familiarity.edges.tolist()
    assert 0 < low < high < 1
    assert text.familiarity(captions(0.05)).mean() < 0.05
    strangers = nn.functional.normalize(torch.randn(50, DIM), dim=-1)
    assert text.familiarity(strangers).mean() > 0.9
