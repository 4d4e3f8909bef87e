"""Exported graphs against the torch modules they were traced from, on seeded inputs.

The traps this is for: a graph that baked in one batch size, one length, or the mask-free
path of a text tower, and is silently wrong on everything else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from qasir.errors import CorruptArtifact
from qasir.manifest import Manifest
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import AttentionScorer
from training.towers import open_session, tokenizer_of

TOLERANCE = 1e-3
SHORT = ("a dog", "a red car runs on the green grass", "cats")
LONG = "a dog and a cat " * 100  # cut to the longest bucket: not one padded token

Inputs: TypeAlias = Mapping[str, "np.ndarray[Any, Any]"]


@dataclass(frozen=True)
class Case:
    """One comparison: a graph, its torch module, and inputs by tensor name."""

    graph: str
    name: str
    module: nn.Module
    inputs: Inputs


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference of one case."""

    graph: str
    case: str
    max_abs: float


def compare(backbone: Backbone, manifest: Manifest, folder: Path) -> list[Difference]:
    """Run every case through both sides.

    Raises:
        CorruptArtifact: a graph differs from its module by more than 1e-3.
    """
    cases = list(_cases(backbone, manifest))
    sessions = {g: open_session(folder / f"{g}.onnx") for g in {case.graph for case in cases}}
    differences = []
    for case in cases:
        found = sessions[case.graph].run(None, dict(case.inputs))[0]
        worst = float(np.abs(found - _run_torch(case)).max())
        if not worst <= TOLERANCE:
            raise CorruptArtifact(
                f"{case.graph}.onnx, {case.name}: differs from torch by {worst:.2g}, the limit is "
                f"{TOLERANCE:g}; the tracer baked in an example, see qasir.modeling.export"
            )
        differences.append(Difference(case.graph, case.name, worst))
    return differences


@torch.inference_mode()
def _run_torch(case: Case) -> "np.ndarray[Any, Any]":
    outputs = case.module.cpu().eval()(*(torch.from_numpy(a) for a in case.inputs.values()))
    first: torch.Tensor = outputs[0] if isinstance(outputs, tuple) else outputs
    return first.numpy()


def _cases(backbone: Backbone, manifest: Manifest) -> Iterator[Case]:
    random = np.random.default_rng(7)
    for resolution in sorted(set(manifest.grids.values())):
        for batch in (1, 3):
            pixels = random.integers(0, 256, (batch, resolution, resolution, 3), np.uint8)
            name = f"batch {batch}, R {resolution}"
            inputs = {"super_images": pixels}
            yield Case("super_image_encoder", name, backbone.image_tower, inputs)
    for batch in (1, 3):
        yield _text_case(backbone, f"batch {batch}, padded", SHORT[:batch])
        yield _text_case(backbone, f"batch {batch}, unpadded", [LONG] * batch)
    yield _scorer_case(manifest, random)


def _text_case(backbone: Backbone, name: str, texts: Sequence[str]) -> Case:
    tokens = tokenizer_of(backbone).encode(texts)
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    return Case("text_encoder", name, backbone.text_tower, inputs)


def _scorer_case(manifest: Manifest, random: np.random.Generator) -> Case:
    units = random.standard_normal((2, 7, manifest.dim))
    inputs = {
        "query": random.standard_normal((2, manifest.dim)).astype(np.float32),
        "units": (units / np.linalg.norm(units, axis=-1, keepdims=True)).astype(np.float16),
        "log_weights": np.where(random.random((2, 4, 7)) < 0.5, 0.0, -1e9).astype(np.float32),
    }
    inputs["log_weights"][..., 0] = 0.0
    return Case("attention_scorer", "batch 2", AttentionScorer(manifest.tau), inputs)
