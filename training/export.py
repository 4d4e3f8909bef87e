"""Stage `export`: writes the model as ONNX graphs with a manifest, and compares them with torch.

    python -m training.export

The comparison on seeded inputs catches a graph that baked in one batch size, one length, one grid
size, or the mask-free path of a text tower, and is silently wrong on everything else.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import nn

from qasir.config import Params, load_params
from qasir.errors import CorruptArtifact
from qasir.manifest import Manifest, Profile
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.export import QueryEncoder, WindowEncoder, export_model
from qasir.modeling.retriever import AttentionScorer, Retriever, load_retriever, zero_shot
from qasir.search import MASKED_LOG_WEIGHT
from qasir.types import Bool, Float16, Float32
from training.evaluate.fusion import read_branches
from training.evaluate.rows import write_json
from training.features.towers import open_session, tokenizer_of
from training.outputs import BRANCHES_FILE, EXPORT, FINETUNED, PARITY_REPORT, finetuned_backbone
from training.progress import console

TOLERANCE = 1e-3
SHORT = ("a dog", "a red car runs on the green grass", "cats")
LONG = "a dog and a cat " * 100  # cut to the longest bucket: not one padded token

Inputs: TypeAlias = Mapping[str, "np.ndarray[Any, Any]"]


def read_model(params: Params) -> tuple[Backbone, Retriever]:
    """Loads the variant that `export.variant` names, as stage `finetune` or `evaluate` left it."""
    tuned = params.export.variant == "fine-tuned"
    backbone = (
        finetuned_backbone(params, FINETUNED) if tuned else load_backbone(params.encode.backbone)
    )
    return backbone, read_retriever(params, backbone, FINETUNED, BRANCHES_FILE)


def read_retriever(
    params: Params, backbone: Backbone, checkpoint: Path, branches: Path
) -> Retriever:
    """Reads the checkpoint, or for zero-shot the branches that were chosen on validation.

    Raises:
        CorruptArtifact: the one that the variant needs is missing or damaged.
        FingerprintMismatch: the checkpoint belongs to another backbone.
    """
    if params.export.variant == "zero-shot":
        return zero_shot(backbone, read_branches(branches))
    return load_retriever(backbone, checkpoint)


def export(params: Params, backbone: Backbone, retriever: Retriever, folder: Path) -> Manifest:
    """Writes the model that the parameters name.

    Raises:
        InvalidInput: the backbone does not read a resolution of `grids`, or the retriever has
            no branches for one of them.
    """
    encode, serve = params.encode, params.serve
    return export_model(
        backbone,
        retriever,
        folder,
        name=params.export.name,
        variant=params.export.variant,
        grids={n: grid.resolution for n, grid in params.grids.items()},
        fps=(encode.fps,),
        profile=Profile(fps=encode.fps, **dict(serve)),
        window=encode.window,
        window_overlap=encode.window_overlap,
    )


@dataclass(frozen=True)
class Case:
    """One comparison: a graph, its torch module, and inputs by tensor name."""

    graph: str
    name: str
    module: nn.Module
    inputs: Inputs


@dataclass(frozen=True)
class Difference:
    """The largest absolute difference of one case, over all outputs."""

    graph: str
    case: str
    max_abs: float


def compare(
    backbone: Backbone, retriever: Retriever, manifest: Manifest, folder: Path
) -> list[Difference]:
    """Runs every case through ONNX Runtime and torch.

    Raises:
        CorruptArtifact: a graph differs from its module by more than 1e-3.
    """
    every = list(cases(backbone, retriever, manifest))
    sessions = {g: open_session(folder / f"{g}.onnx") for g in {case.graph for case in every}}
    differences = []
    for case in every:
        outputs = sessions[case.graph].run(None, dict(case.inputs))
        pairs = zip(outputs, run_torch(case), strict=True)
        worst = max(difference(output, expected) for output, expected in pairs)
        if not worst <= TOLERANCE:
            raise CorruptArtifact(
                f"{case.graph}.onnx, {case.name}: differs from torch by {worst:.2g}, the limit is "
                f"{TOLERANCE:g}; the tracer baked in an example, see qasir.modeling.export"
            )
        differences.append(Difference(case.graph, case.name, worst))
    return differences


def difference(output: "np.ndarray[Any, Any]", expected: "np.ndarray[Any, Any]") -> float:
    """Returns the largest absolute difference; infinite if shapes differ.

    Without that check numpy would broadcast a baked-in dimension of 1.
    """
    if output.shape != expected.shape:
        return float("inf")
    return float(np.abs(output.astype(np.float64) - expected.astype(np.float64)).max())


@torch.inference_mode()
def run_torch(case: Case) -> "list[np.ndarray[Any, Any]]":
    """Returns the outputs of the case's module, in its order."""
    result = case.module.cpu().eval()(*(torch.from_numpy(a) for a in case.inputs.values()))
    outputs = result if isinstance(result, tuple) else (result,)
    return [output.numpy() for output in outputs]


def cases(backbone: Backbone, retriever: Retriever, manifest: Manifest) -> Iterator[Case]:
    """Yields one and several super images at every N, texts with and without padding, scorers."""
    random = np.random.default_rng(7)
    for grid_size, resolution in manifest.grids.items():
        for count in (1, 3):
            name, mask = f"S {count}, N {grid_size}", _mask(random, count, grid_size)
            pixels = random.integers(0, 256, (count, resolution, resolution, 3), np.uint8)
            inputs = {"super_images": pixels, "mask": mask}
            yield Case(
                "super_image_encoder", f"{name}, R {resolution}", backbone.image_tower, inputs
            )
            size = (count, 1 + grid_size**2, backbone.feature_dim)
            inputs = {"features": random.standard_normal(size, np.float32), "mask": mask}
            yield Case("temporal_encoder", name, WindowEncoder(retriever.video), inputs)
    for count in (1, 3):
        yield _text_case(backbone, retriever, f"batch {count}, padded", SHORT[:count])
        yield _text_case(backbone, retriever, f"batch {count}, unpadded", [LONG] * count)
        yield _scorer_case(manifest, random, count)


def _mask(random: np.random.Generator, count: int, grid_size: int) -> Bool:
    """Draws a mask bool [S, N, N]; every super image has a frame, others may be padded."""
    mask = random.random((count, grid_size, grid_size)) < 0.7
    mask[:, 0, 0] = True
    return mask


def _text_case(backbone: Backbone, retriever: Retriever, name: str, texts: Sequence[str]) -> Case:
    tokens = tokenizer_of(backbone).encode(texts)
    inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
    return Case("text_encoder", name, QueryEncoder(backbone.text_tower, retriever.text), inputs)


def _scorer_case(manifest: Manifest, random: np.random.Generator, batch: int) -> Case:
    """Builds a batch whose rows have different grid sizes."""
    embeddings, log_weights = _branch(manifest, random, batch, 7)
    cells, cell_log_weights = _branch(manifest, random, batch, 12)
    grid_sizes = [sorted(manifest.grids)[i % len(manifest.grids)] for i in range(batch)]
    inputs: Inputs = {
        "query": _unit_vectors(random, (batch, manifest.dim)),
        "super_image_embeddings": embeddings,
        "log_weights": log_weights,
        "cell_embeddings": cells,
        "cell_log_weights": cell_log_weights,
        "grid_size": np.array(grid_sizes, np.int64)[:, None],
    }
    module = AttentionScorer(manifest.branches)
    return Case("attention_scorer", f"batch {batch}, N {grid_sizes}", module, inputs)


def _branch(
    manifest: Manifest, random: np.random.Generator, batch: int, count: int
) -> tuple[Float16, Float32]:
    """Draws embeddings [B, M, D] of four videos, log weights [B, 4, M]; each video has one."""
    embeddings = _unit_vectors(random, (batch, count, manifest.dim)).astype(np.float16)
    belongs = random.random((batch, 4, count)) < 0.5
    belongs[..., 0] = True
    return embeddings, np.where(belongs, np.float32(0), MASKED_LOG_WEIGHT)


def _unit_vectors(random: np.random.Generator, shape: tuple[int, ...]) -> Float32:
    vectors = random.standard_normal(shape, np.float32)
    unit: Float32 = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    return unit


def main() -> None:
    params = load_params()
    backbone, retriever = read_model(params)
    manifest = export(params, backbone, retriever, EXPORT)
    differences = compare(backbone, retriever, manifest, EXPORT)
    write_json(differences, PARITY_REPORT)
    worst = max(difference.max_abs for difference in differences)
    console.print(
        f"exported {manifest.name} {manifest.fingerprint}: torch and ONNX within {worst:.1g}"
    )


if __name__ == "__main__":
    main()
