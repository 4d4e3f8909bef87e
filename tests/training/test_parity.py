"""Parity: a right export passes, and each known way to be wrong is caught."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import nn

from qasir.errors import CorruptArtifact
from qasir.manifest import read_manifest
from qasir.modeling.backbones import Backbone
from qasir.modeling.export import scorer_graph, text_graph
from training.macs import gmacs_per_image
from training.parity import TOLERANCE, compare


def test_a_right_export_passes_every_case(tiny_backbone: Backbone, tiny_export: Path) -> None:
    differences = compare(tiny_backbone, read_manifest(tiny_export), tiny_export)
    assert {d.graph for d in differences} == {
        "super_image_encoder",
        "text_encoder",
        "attention_scorer",
    }
    cases = {d.case for d in differences if d.graph == "text_encoder"}
    assert cases == {f"batch {b}, {p}" for b in (1, 3) for p in ("padded", "unpadded")}
    assert all(d.max_abs <= TOLERANCE for d in differences)


@pytest.fixture
def copied(tiny_export: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_export, tmp_path / "export"))


class WithoutMask(nn.Module):
    """What a tracer makes of a text tower whose example had no padding."""

    def __init__(self, tower: nn.Module) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        vectors: torch.Tensor = self.tower(input_ids, torch.ones_like(attention_mask))
        # Keeps the input in the graph.
        return vectors + 0.0 * attention_mask[:, :1]


def test_a_text_tower_that_lost_its_mask_is_refused(
    lite_backbone: Backbone, lite_export: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(lite_export, tmp_path / "lite"))
    graph = text_graph(lite_backbone)
    broken = type(graph)(
        graph.name, WithoutMask(graph.module), graph.inputs, graph.outputs, graph.axes
    )
    broken.write(folder)
    with pytest.raises(CorruptArtifact, match=r"text_encoder\.onnx, batch 1, padded: differs"):
        compare(lite_backbone, read_manifest(folder), folder)


def test_a_scorer_with_another_tau_is_refused(tiny_backbone: Backbone, copied: Path) -> None:
    manifest = read_manifest(copied)
    scorer_graph(manifest.dim, manifest.tau * 10).write(copied)
    with pytest.raises(CorruptArtifact, match=r"attention_scorer\.onnx"):
        compare(tiny_backbone, manifest, copied)


def test_macs_of_lite_are_those_of_its_paper(lite_backbone: Backbone) -> None:
    """EfficientNet-Lite0 at 224: 407 M published, classifier included; SAME padding excluded."""
    at_224, at_448 = (gmacs_per_image(lite_backbone, r) for r in (224, 448))
    assert at_224 == pytest.approx(0.39, abs=0.02)
    assert at_448 == pytest.approx(4 * at_224, rel=0.01)
