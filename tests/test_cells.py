"""Cells: pooling against a count of tiny squares, and each backbone's own way to them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from transformers import AutoModel

from qasir.errors import InvalidConfig
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.backbones.hf import reader_of
from qasir.modeling.backbones.lite import (
    PIXEL_MEAN,
    PIXEL_STD,
    TOP_CLASSES,
    Conse,
    ImageTower,
    load_network,
)
from qasir.modeling.cells import cell_shares, join_features, pool_cells
from qasir.super_images import cell_edges
from qasir.types import Bool, Float32, Uint8

TOLERANCE = 1e-5
BACKBONES = ["lite_backbone", "tiny_backbone", "tiny_siglip_backbone"]
SIDES = {"lite_backbone": 256, "tiny_backbone": 64, "tiny_siglip_backbone": 64}


@pytest.fixture(params=BACKBONES)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    found: Backbone = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def side(request: pytest.FixtureRequest, backbone: Backbone) -> int:
    """R that this backbone reads."""
    return SIDES[request.node.callspec.params["backbone"]]


def features_of(backbone: Backbone, pixels: Uint8, mask: Bool) -> Float32:
    with torch.inference_mode():
        features: Tensor = backbone.image_tower(torch.from_numpy(pixels), torch.from_numpy(mask))
    return features.numpy()


def pictures(count: int, side: int, seed: int = 0) -> Uint8:
    """Random patches of 16 x 16 pixels: to a network noise of single pixels is grey."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, side // 16, side // 16, 3), np.uint8)
    return coarse.repeat(16, 1).repeat(16, 2)


def counted_shares(grid_size: int, height: int, width: int) -> Float32:
    """Every point of a lattice that cells and places divide alike, given to one of each."""
    shares = np.zeros((grid_size**2, height * width))
    for y in range(grid_size * height):
        for x in range(grid_size * width):
            cell = y // height * grid_size + x // width
            place = y // grid_size * width + x // grid_size
            shares[cell, place] += 1
    return np.asarray(shares / (height * width), np.float32)


@given(st.integers(1, 8), st.integers(1, 12), st.integers(1, 12))
def test_shares_are_areas(grid_size: int, height: int, width: int) -> None:
    found = cell_shares(grid_size, height, width, torch.zeros(1)).numpy()
    np.testing.assert_allclose(found, counted_shares(grid_size, height, width), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)


def test_aligned_cells_are_plain_means() -> None:
    places = torch.randn(2, 64, 5)
    expected = places.view(2, 4, 2, 4, 2, 5).mean((2, 4)).flatten(1, 2)
    torch.testing.assert_close(pool_cells(places, 8, 8, 4), expected)


def test_one_cell_is_the_mean_of_the_whole_map() -> None:
    places = torch.randn(2, 63, 5)
    torch.testing.assert_close(pool_cells(places, 7, 9, 1), places.mean(1, keepdim=True))


def test_padded_cells_are_zeros_and_real_ones_untouched() -> None:
    whole, cells = torch.randn(3, 5), torch.randn(3, 4, 5)
    mask = torch.tensor([[[1, 1], [1, 1]], [[1, 0], [0, 0]], [[1, 1], [1, 0]]]).bool()
    features = join_features(whole, cells, mask)
    torch.testing.assert_close(features[:, 0], whole)
    real = mask.flatten(1)
    torch.testing.assert_close(features[:, 1:][real], cells[real])
    assert bool((features[:, 1:][~real] == 0).all())


@pytest.mark.parametrize("grid_size", [1, 2, 3, 4])
def test_features_have_a_row_for_the_picture_and_each_cell(
    backbone: Backbone, side: int, grid_size: int
) -> None:
    pixels = pictures(2, side)
    mask = np.ones((2, grid_size, grid_size), np.bool_)
    mask[1].flat[1:] = False
    features = features_of(backbone, pixels, mask)
    assert features.shape == (2, 1 + grid_size**2, backbone.feature_dim)
    assert features.dtype == np.float32
    assert (features[1, 2:] == 0).all()
    # Padding is the mask's word alone: every other row is as without it.
    full = features_of(backbone, pixels, np.ones_like(mask))
    np.testing.assert_allclose(features[0], full[0], atol=TOLERANCE)
    np.testing.assert_allclose(features[1, :2], full[1, :2], atol=TOLERANCE)


@pytest.mark.parametrize("grid_size", [2, 3, 4])
def test_cells_differ_from_each_other_and_from_the_whole(
    backbone: Backbone, side: int, grid_size: int
) -> None:
    mask = np.ones((1, grid_size, grid_size), np.bool_)
    features = features_of(backbone, pictures(1, side), mask)[0]
    assert np.isfinite(features).all()
    assert len(np.unique(features.round(4), axis=0)) == 1 + grid_size**2


@pytest.mark.parametrize("grid_size", [1, 2, 3])
def test_the_bridge_makes_unit_vectors(backbone: Backbone, side: int, grid_size: int) -> None:
    mask = np.ones((2, grid_size, grid_size), np.bool_)
    features = torch.from_numpy(features_of(backbone, pictures(2, side), mask))
    with torch.inference_mode():
        vectors = backbone.bridge(features)
    assert vectors.shape == (2, 1 + grid_size**2, backbone.dim)
    torch.testing.assert_close(vectors.norm(dim=-1), torch.ones(2, 1 + grid_size**2))


@pytest.mark.parametrize(("grid_size", "side"), [(2, 256), (3, 384), (4, 512)])
def test_a_changed_cell_changes_its_own_vector_most(
    lite_backbone: Backbone, grid_size: int, side: int
) -> None:
    """Receptive fields reach over edges, so neighbours change too, but less. (With 2 x 2 places
    a cell, N = 4 at R = 256, a neighbour may well change more.)"""
    edges = cell_edges(grid_size, side)
    mask = np.ones((1, grid_size, grid_size), np.bool_)
    pixels = pictures(1, side)
    before = features_of(lite_backbone, pixels, mask)[0]
    for cell in range(grid_size**2):
        row, column = divmod(cell, grid_size)
        changed = pixels.copy()
        where = slice(edges[row], edges[row + 1]), slice(edges[column], edges[column + 1])
        changed[0][where] = pictures(1, side, seed=9)[0][where]
        after = features_of(lite_backbone, changed, mask)[0]
        moved = np.linalg.norm(after - before, axis=1)[1:]
        assert moved.argmax() == cell


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lite", "lite2"])
def test_lite_whole_pictures_are_mean_then_conse(name: str) -> None:
    """What a whole picture was before there were cells, written out again in numpy."""
    backbone = load_backbone(name)
    pixels = pictures(3, 224)
    network, classifier = load_network(name)
    with torch.inference_mode():
        planes = (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - PIXEL_MEAN) / PIXEL_STD
        means = network(planes).mean((2, 3))
        logits = classifier(means).numpy()
        bridge = backbone.bridge
        assert isinstance(bridge, Conse)
        expected = conse(logits, bridge.class_vectors.numpy())
        features = features_of(backbone, pixels, np.ones((3, 3, 3), np.bool_))
        vectors = bridge(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(features[:, 0], means.numpy(), atol=TOLERANCE)
    np.testing.assert_allclose(vectors[:, 0], expected, atol=TOLERANCE)


def conse(logits: Float32, class_vectors: Float32) -> Float32:
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    rows = []
    for row in probabilities:
        best = np.argsort(-row)[:TOP_CLASSES]
        combined = sum(row[i] * class_vectors[i] for i in best)
        rows.append(combined / np.linalg.norm(combined))
    return np.asarray(rows, np.float32)


@pytest.mark.parametrize("grid_size", [1, 2, 4])
def test_lite_cells_are_means_of_the_feature_map(grid_size: int) -> None:
    pixels = torch.from_numpy(pictures(2, 256))
    network, _ = load_network("lite")
    tower = ImageTower(network)
    with torch.inference_mode():
        planes = (pixels.permute(0, 3, 1, 2).float() - PIXEL_MEAN) / PIXEL_STD
        features = network(planes)
        block = 8 // grid_size
        split = features.view(2, -1, grid_size, block, grid_size, block).mean((3, 5))
        found = tower(pixels, torch.ones(2, grid_size, grid_size, dtype=torch.bool))
    torch.testing.assert_close(found[:, 1:], split.flatten(2).transpose(1, 2))


@pytest.mark.parametrize("name", ["tiny_clip", "tiny_siglip"])
def test_hf_whole_pictures_are_the_models_own_features(
    name: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(name)
    pixels = pictures(3, 64)
    model = AutoModel.from_pretrained(folder).eval()
    planes = normalised(pixels, load_backbone(f"hf:{folder}"))
    with torch.inference_mode():
        expected = model.get_image_features(pixel_values=planes).pooler_output.numpy()
    features = features_of(load_backbone(f"hf:{folder}"), pixels, np.ones((3, 2, 2), np.bool_))
    np.testing.assert_allclose(features[:, 0], expected, atol=TOLERANCE)


def normalised(pixels: Uint8, backbone: Backbone) -> Tensor:
    tower: Any = backbone.image_tower
    planes: Tensor = (torch.from_numpy(pixels).permute(0, 3, 1, 2) - tower.mean) / tower.std
    return planes


def test_clip_cells_are_what_each_patch_gives_when_it_attends_to_itself(
    tiny_clip: Path, tiny_backbone: Backbone
) -> None:
    """The value path, by the model's own last attention with all but the diagonal masked."""
    pixels = pictures(2, 64)
    model = AutoModel.from_pretrained(tiny_clip, attn_implementation="eager").eval()
    vision, seen = model.vision_model, []
    block = vision.encoder.layers[-1]
    block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.inference_mode():
        vision(pixel_values=normalised(pixels, tiny_backbone))
        alone = torch.full((17, 17), -torch.inf).fill_diagonal_(0.0)
        attended, _ = block.self_attn(block.layer_norm1(seen[0]), attention_mask=alone)
        patches = model.visual_projection(vision.post_layernorm(attended[:, 1:]))
    for grid_size in (1, 2, 4):
        mask = np.ones((2, grid_size, grid_size), np.bool_)
        shares = counted_shares(grid_size, 4, 4)
        found = features_of(tiny_backbone, pixels, mask)[:, 1:]
        np.testing.assert_allclose(found, shares @ patches.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("grid_size", [1, 2, 4])
def test_siglip_cells_are_the_head_over_their_own_patches(
    tiny_siglip: Path, tiny_siglip_backbone: Backbone, grid_size: int
) -> None:
    pixels = pictures(2, 64)
    model = AutoModel.from_pretrained(tiny_siglip).eval()
    with torch.inference_mode():
        output = model.vision_model(pixel_values=normalised(pixels, tiny_siglip_backbone))
        block = 8 // grid_size
        patches = output.last_hidden_state.view(2, grid_size, block, grid_size, block, -1)
        own = patches.transpose(2, 3).flatten(0, 2).flatten(1, 2)
        expected = model.vision_model.head(own).view(2, grid_size**2, -1).numpy()
    mask = np.ones((2, grid_size, grid_size), np.bool_)
    features = features_of(tiny_siglip_backbone, pixels, mask)
    np.testing.assert_allclose(features[:, 1:], expected, atol=TOLERANCE)
    if grid_size == 1:
        np.testing.assert_allclose(features[:, 1], features[:, 0], atol=TOLERANCE)


def test_a_model_that_is_no_dual_encoder_is_refused(tiny_clip: Path) -> None:
    vision: Callable[..., Any] = AutoModel.from_pretrained(tiny_clip).vision_model
    with pytest.raises(InvalidConfig, match="CLIPVisionModel is not a dual encoder"):
        reader_of(vision)


def test_an_unknown_backbone_names_the_known() -> None:
    for name in ("lite3", "hf:", "clip"):
        with pytest.raises(InvalidConfig, match="lite, lite2 or 'hf:"):
            load_backbone(name)
