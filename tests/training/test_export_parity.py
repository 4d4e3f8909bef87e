"""Parity: a right export passes, and each known way to be wrong is caught."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from qasir.errors import CorruptArtifact
from qasir.manifest import ScoreFusion, read_manifest
from qasir.modeling.backbones import Backbone
from qasir.modeling.export import Graph, image_graph, scorer_graph, temporal_graph, text_graph
from qasir.modeling.retriever import Retriever, zero_shot
from qasir.triton import MODELS
from tests.support.models import BRANCHES
from training.evaluate.corpus import gmacs_per_image
from training.export import TOLERANCE, compare


def test_a_right_export_passes_every_case(tiny_backbone: Backbone, tiny_export: Path) -> None:
    retriever = zero_shot(tiny_backbone, BRANCHES)
    differences = compare(tiny_backbone, retriever, read_manifest(tiny_export), tiny_export)
    assert {d.graph for d in differences} == set(MODELS)
    cases = {d.case for d in differences if d.graph == "text_encoder"}
    assert cases == {f"batch {b}, {p}" for b in (1, 3) for p in ("padded", "unpadded")}
    cases = {d.case for d in differences if d.graph == "super_image_encoder"}
    assert cases == {f"S {s}, N {n}, R 64" for s in (1, 3) for n in (1, 2)}
    assert all(d.max_abs <= TOLERANCE for d in differences)


def test_a_right_fine_tuned_export_passes(
    tiny_backbone: Backbone, tiny_retriever: Retriever, tuned_export: Path
) -> None:
    manifest = read_manifest(tuned_export)
    differences = compare(tiny_backbone, tiny_retriever, manifest, tuned_export)
    cases = {d.case for d in differences if d.graph == "temporal_encoder"}
    assert cases == {f"S {s}, N {n}" for s in (1, 3) for n in (1, 2, 3)}


@pytest.fixture
def copied(tuned_export: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tuned_export, tmp_path / "export"))


class WithoutMask(nn.Module):
    """What is left of a module whose mask a tracer took for all true."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, inputs: Tensor, mask: Tensor) -> Tensor | tuple[Tensor, ...]:
        outputs = self.module(inputs, torch.ones_like(mask))
        # Keeps the input in the graph.
        nothing = 0.0 * mask.flatten()[0].to(torch.float32)
        return kept(outputs, nothing)


class WithGridSize(nn.Module):
    """What is left of an image tower whose grid size a tracer took for a constant."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, super_images: Tensor, mask: Tensor) -> Tensor:
        cells = mask[:, :1, :1].expand(-1, 2, 2)
        features: Tensor = self.module(super_images, cells)
        return features


def kept(outputs: Tensor | tuple[Tensor, ...], nothing: Tensor) -> Tensor | tuple[Tensor, ...]:
    if isinstance(outputs, Tensor):
        return outputs + nothing
    return (outputs[0] + nothing, *outputs[1:])


Break = Callable[[nn.Module], nn.Module]


@pytest.mark.parametrize("broken_by", [WithoutMask, WithGridSize])
def test_an_image_tower_that_lost_a_mask_or_a_grid_size_is_refused(
    tiny_backbone: Backbone, tiny_retriever: Retriever, copied: Path, broken_by: Break
) -> None:
    rewrite(image_graph(tiny_backbone, 64), broken_by, copied)
    with pytest.raises(CorruptArtifact, match=r"super_image_encoder\.onnx, S \d, N \d, R 64: dif"):
        compare(tiny_backbone, tiny_retriever, read_manifest(copied), copied)


def test_a_window_that_lost_its_mask_is_refused(
    tiny_backbone: Backbone, tiny_retriever: Retriever, copied: Path
) -> None:
    rewrite(temporal_graph(tiny_backbone, tiny_retriever), WithoutMask, copied)
    with pytest.raises(CorruptArtifact, match=r"temporal_encoder\.onnx, S \d, N \d: differs"):
        compare(tiny_backbone, tiny_retriever, read_manifest(copied), copied)


def test_a_text_tower_that_lost_its_mask_is_refused(
    lite_backbone: Backbone, lite_export: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(lite_export, tmp_path / "lite"))
    retriever = zero_shot(lite_backbone, BRANCHES)
    rewrite(text_graph(lite_backbone, retriever), WithoutMask, folder)
    with pytest.raises(CorruptArtifact, match=r"text_encoder\.onnx, batch 1, padded: differs"):
        compare(lite_backbone, retriever, read_manifest(folder), folder)


def rewrite(graph: Graph, broken_by: Break, folder: Path) -> None:
    replace(graph, module=broken_by(graph.module)).write(folder)


def test_text_without_its_learned_side_is_refused(
    tiny_backbone: Backbone, tiny_retriever: Retriever, copied: Path
) -> None:
    text_graph(tiny_backbone, zero_shot(tiny_backbone, BRANCHES)).write(copied)
    with pytest.raises(CorruptArtifact, match=r"text_encoder\.onnx, .*: differs from torch by inf"):
        compare(tiny_backbone, tiny_retriever, read_manifest(copied), copied)


@pytest.mark.parametrize("knob", ["super_image_weight", "super_image_tau", "cell_tau"])
def test_a_scorer_with_another_branch_is_refused(
    tiny_backbone: Backbone, tiny_retriever: Retriever, copied: Path, knob: str
) -> None:
    """Of one grid size only: the tables are looked up by N."""
    manifest = read_manifest(copied)
    other = manifest.branches[2].model_copy(update={knob: 0.9})
    branches: dict[int, ScoreFusion] = {**manifest.branches, 2: other}
    scorer_graph(manifest.dim, branches).write(copied)
    with pytest.raises(CorruptArtifact, match=r"attention_scorer\.onnx, batch 3, N \[1, 2, 3\]"):
        compare(tiny_backbone, tiny_retriever, manifest, copied)


def test_macs_of_lite_are_those_of_its_paper(lite_backbone: Backbone) -> None:
    """EfficientNet-Lite0 at 224: 407 M published; SAME padding and the classifier excluded."""
    at_224, at_448 = (gmacs_per_image(lite_backbone, r, 1) for r in (224, 448))
    assert at_224 == pytest.approx(0.39, abs=0.02)
    assert at_448 == pytest.approx(4 * at_224, rel=0.01)


def test_cells_cost_less_than_a_percent(lite_backbone: Backbone) -> None:
    whole, cells = (gmacs_per_image(lite_backbone, 256, n) for n in (1, 4))
    assert whole < cells < 1.01 * whole
