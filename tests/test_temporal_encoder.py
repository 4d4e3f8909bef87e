"""Embeddings of a window: both halves, padding without effect, one graph for every N and S."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from qasir.config import RetrieverParams
from qasir.modeling.export import Graph
from qasir.modeling.temporal_encoder import (
    Layer,
    TemporalEncoder,
    WindowContext,
    ZeroShot,
    learned_dim,
    real_rows,
    time_position,
)

FEATURES, DIM = 12, 6


class Bridge(nn.Module):
    """The first features, L2-normalised."""

    def forward(self, features: Tensor) -> Tensor:
        """float32 [..., F'] -> float32 [..., D0]."""
        return nn.functional.normalize(features[..., :DIM], dim=-1)


def params(**changes: object) -> RetrieverParams:
    values = {
        "dim": 8,
        "layers": 2,
        "heads": 2,
        "dropout": 0.1,
        "image_adapter": True,
        "text_adapter": True,
        "temporal_encoder": True,
        "grid_embedding": True,
    }
    return RetrieverParams.model_validate(values | changes)


def encoder(grid_sizes: tuple[int, ...] = (1, 2, 3), /, **changes: object) -> TemporalEncoder:
    """Random everywhere: gates and biases start at zero, which would hide what is behind them."""
    torch.manual_seed(0)
    model = TemporalEncoder(Bridge(), FEATURES, DIM, params(**changes), grid_sizes)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.5 * torch.randn_like(parameter))
    return model.eval()


def window(count: int, grid_size: int, real: int, batch: int = 1) -> tuple[Tensor, Tensor]:
    """Features [B, S, 1+P, F'] and a mask with the first `real` cells."""
    cells = grid_size**2
    features = torch.randn(batch, count, 1 + cells, FEATURES)
    mask = (torch.arange(count * cells) < real).view(1, count, grid_size, grid_size)
    mask = mask.expand(batch, -1, -1, -1)
    return features * real_rows(mask).unsqueeze(-1), mask


def test_a_super_image_is_real_if_a_cell_is() -> None:
    _, mask = window(3, 2, real=5)
    assert real_rows(mask)[0].int().tolist() == [[1] * 5, [1, 1, 0, 0, 0], [0] * 5]


def test_zero_shot_is_the_bridge_and_padding_is_nothing() -> None:
    features, mask = window(3, 2, real=5)
    embeddings = ZeroShot(Bridge())(features, mask)
    assert torch.equal(embeddings[0, 0], Bridge()(features[0, 0]))
    assert not embeddings[0, 1, 2:].any()
    assert not embeddings[0, 2].any()


def test_both_halves_weigh_the_same() -> None:
    features, mask = window(3, 2, real=12)
    model = encoder()
    embeddings = model(features, mask)
    known = Bridge()(features)
    assert torch.allclose(embeddings[..., :DIM], known * 0.5**0.5)
    assert torch.allclose(embeddings[..., DIM:].norm(dim=-1), torch.tensor(0.5**0.5))


@torch.no_grad()
def test_padding_changes_no_real_unit() -> None:
    model = encoder()
    features, mask = window(2, 2, real=7)
    longer = torch.cat([features, torch.randn(1, 3, 5, FEATURES)], dim=1)
    more = torch.cat([mask, torch.zeros(1, 3, 2, 2, dtype=torch.bool)], dim=1)
    assert torch.allclose(model(longer, more)[:, :2], model(features, mask), atol=1e-6)
    noisy = features + 9 * torch.randn_like(features) * ~real_rows(mask).unsqueeze(-1)
    assert torch.allclose(model(noisy, mask), model(features, mask), atol=1e-6)


@torch.no_grad()
def test_a_window_of_padding_alone_is_zeros() -> None:
    features, mask = window(2, 2, real=0)
    assert not encoder()(features, mask).any()


@torch.no_grad()
def test_windows_of_a_batch_do_not_see_each_other() -> None:
    model = encoder()
    features, mask = window(3, 2, real=11, batch=2)
    alone = torch.cat([model(features[i : i + 1], mask[i : i + 1]) for i in (0, 1)])
    assert torch.allclose(model(features, mask), alone, atol=1e-6)


@torch.no_grad()
def test_context_reaches_other_super_images_and_their_order_counts() -> None:
    features, mask = window(3, 2, real=12)
    changed = features.clone()
    changed[0, 2] = torch.randn(5, FEATURES)
    swapped = features[:, [0, 2, 1]]
    model, plain = encoder(), encoder(temporal_encoder=False)
    for other in (changed, swapped):
        assert (model(other, mask)[0, 0] - model(features, mask)[0, 0]).abs().max() > 1e-3
        assert torch.equal(plain(other, mask)[0, 0], plain(features, mask)[0, 0])


@torch.no_grad()
def test_a_gate_of_zero_leaves_units_as_they_are() -> None:
    torch.manual_seed(0)
    fresh = TemporalEncoder(Bridge(), FEATURES, DIM, params(), (1, 2))
    features, mask = window(3, 2, real=12)
    before = fresh.eval()(features, mask)
    fresh.learned.context = None
    assert torch.allclose(fresh(features, mask), before, atol=1e-6)


@torch.no_grad()
def test_every_grid_size_has_its_own_maps_unless_they_share_one() -> None:
    """N = 3 was not trained: it takes the first one's."""
    features, mask = window(2, 2, real=8)
    model = encoder((1, 2), temporal_encoder=False)
    adapter = model.learned.adapter
    assert adapter is not None
    before = model(features, mask)
    adapter.set(1, 0, torch.randn(FEATURES, 8), torch.randn(8))
    assert torch.equal(model(features, mask), before)
    adapter.set(2, 1, torch.randn(FEATURES, 8), torch.randn(8))
    after = model(features, mask)
    assert torch.equal(after[:, :, 0], before[:, :, 0])
    assert not torch.equal(after[:, :, 1:], before[:, :, 1:])
    shared = encoder((1, 2), grid_embedding=False).learned.adapter
    assert shared is not None
    assert shared.weight.shape[0] == 1


def test_time_runs_over_the_cells_of_a_window() -> None:
    """A super image stands at the middle of its cells."""
    mask = torch.ones(1, 2, 3, 3, dtype=torch.bool)
    position = time_position(mask, 8)
    assert position.shape == (2, 10, 8)
    assert torch.allclose(position[:, 0], position[:, 5])
    # The first sinusoid has frequency one: its angle is the frame number.
    frames = torch.arange(18.0).view(2, 9)
    assert torch.allclose(position[:, 1:, 0], frames.sin(), atol=1e-5)


def first_layer(context: WindowContext) -> Layer:
    layer = context.layers[0]
    assert isinstance(layer, Layer)
    return layer


def reference_attention(context: WindowContext, rows: Tensor, real: Tensor) -> Tensor:
    """The first layer's attention of torch itself, with the same weights; padding left out."""
    layer = first_layer(context)
    theirs = nn.MultiheadAttention(8, layer.heads, batch_first=True)
    theirs.in_proj_weight = nn.Parameter(layer.inputs.weight)
    theirs.in_proj_bias = nn.Parameter(layer.inputs.bias)
    theirs.out_proj.load_state_dict(layer.outputs.state_dict())
    normed = layer.before_attention(rows)
    attended: Tensor = theirs(normed, normed, normed, key_padding_mask=~real)[0]
    return attended


@torch.no_grad()
def test_attention_is_torchs() -> None:
    context = encoder().learned.context
    assert context is not None
    rows, real = torch.randn(2, 7, 8), torch.arange(7).expand(2, -1) < 5
    layer = first_layer(context)
    hidden = (~real).float() * -1e9
    ours = layer.attend(layer.before_attention(rows), hidden)
    assert torch.allclose(ours, reference_attention(context, rows, real), atol=1e-5)


@pytest.mark.parametrize(
    ("image_adapter", "text_adapter", "dim"), [(True, True, 8), (True, False, 6), (False, True, 6)]
)
def test_a_side_without_adapter_keeps_the_space_of_the_towers(
    image_adapter: bool, text_adapter: bool, dim: int
) -> None:
    changes: dict[str, object] = {"image_adapter": image_adapter, "text_adapter": text_adapter}
    assert learned_dim(DIM, params(**changes)) == dim
    if dim == DIM:
        changes |= {"heads": 1}
    embeddings = encoder(**changes)(*window(2, 2, real=8))
    assert embeddings.shape == (1, 2, 5, DIM + dim)


@torch.no_grad()
@pytest.mark.parametrize("changes", [{}, {"temporal_encoder": False}, {"grid_embedding": False}])
def test_one_graph_serves_every_grid_size_and_window(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    """Traced at N = 2, S = 3; read at others, padded and not."""
    model = encoder(**changes)
    features, mask = window(3, 2, real=9)
    inputs = {"features": (features, "1 S 1+P f"), "mask": (mask, "1 S N N")}
    Graph("embeddings", model, inputs, {"embeddings": "1 S 1+P d"}).write(tmp_path)
    session = onnxruntime.InferenceSession(
        tmp_path / "embeddings.onnx", providers=["CPUExecutionProvider"]
    )
    for count, grid_size, real in ((1, 1, 1), (9, 1, 9), (5, 2, 18), (2, 3, 10), (1, 3, 9)):
        features, mask = window(count, grid_size, real)
        found = session.run(None, {"features": features.numpy(), "mask": mask.numpy()})[0]
        np.testing.assert_allclose(found, model(features, mask).numpy(), atol=1e-5)
