"""Units of cached features: windows as a service encodes them, and queries."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qasir.modeling.retriever import Retriever, untrained, zero_shot
from qasir.types import Float32
from tests.support.planted import DIM, PlantedBackbone, World, finetune_params, spec
from training.evaluate.corpus import encode_queries, encode_video


def noisy_retriever() -> Retriever:
    """A retriever whose temporal encoder says something."""
    torch.manual_seed(3)
    retriever = untrained(PlantedBackbone(), finetune_params().retriever, (1, 2, 3))
    with torch.no_grad():
        for parameter in retriever.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return retriever.eval()


@torch.no_grad()
def window_by_hand(retriever: Retriever, features: Float32, mask: Tensor) -> Float32:
    embeddings: Float32 = retriever.video(torch.from_numpy(features)[None], mask[None])[0].numpy()
    return embeddings


@pytest.mark.parametrize("grid_size", [1, 2, 3])
def test_a_long_video_is_encoded_in_windows_that_overlap(grid_size: int) -> None:
    retriever = noisy_retriever()
    video = World.make(1).video([0, 1, 2, 3, 4, 5, 6, 7] * 2, grid_size)
    units = encode_video(retriever, video, 4, 2, spec(grid_size)).embeddings
    features = video.embeddings.astype(np.float32)
    mask = torch.from_numpy(video.mask).view(-1, grid_size, grid_size)
    if len(video.mask) > 4:
        second = window_by_hand(retriever, features[2:6], mask[2:6])
        first = window_by_hand(retriever, features[:4], mask[:4])
        np.testing.assert_allclose(units[:3], first[:3], atol=2e-3)
        np.testing.assert_allclose(units[3], second[1], atol=2e-3)
        assert np.abs(units[3].astype(np.float32) - first[3]).max() > 5e-3
    assert units.shape[:2] == (len(video.mask), 1 + grid_size**2)
    assert units.dtype == np.float16


def test_units_have_length_one_and_padded_ones_none() -> None:
    video = World.make(2).video([0, 1, 2], 2)
    units = encode_video(noisy_retriever(), video, 8, 0, spec(2))
    lengths = np.linalg.norm(units.embeddings.astype(np.float32), axis=-1)
    np.testing.assert_allclose(lengths[:, 1:], units.mask, atol=1e-3)
    np.testing.assert_allclose(lengths[:, 0], 1, atol=1e-3)


def test_zero_shot_units_are_the_bridge() -> None:
    backbone = PlantedBackbone()
    video = World.make(2).video([0, 1], 1)
    units = encode_video(zero_shot(backbone, {}), video, 4, 2, spec(1)).embeddings
    expected = backbone.bridge(torch.from_numpy(video.embeddings.astype(np.float32)))
    np.testing.assert_allclose(units, expected.numpy(), atol=1e-3)


def test_queries_of_both_variants() -> None:
    vectors = nn.functional.normalize(torch.randn(5, DIM), dim=-1).numpy()
    assert (encode_queries(zero_shot(PlantedBackbone(), {}), vectors) == vectors).all()
    queries = encode_queries(noisy_retriever(), vectors)
    assert queries.shape == (5, DIM + 8)
    np.testing.assert_allclose(np.linalg.norm(queries, axis=1), 1, atol=1e-5)
