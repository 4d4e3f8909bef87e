"""Towers and scorer to ONNX graphs with a manifest: the one way a model leaves torch."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from qasir.artifacts import sha256_of
from qasir.config import Variant
from qasir.manifest import Manifest, Preprocessing, Profile, write_manifest
from qasir.modeling.backbones import Backbone, weights_digest
from qasir.modeling.retriever import AttentionScorer, TemporalEncoder
from qasir.text import TOKENIZER_NAME

OPSET = 17


@dataclass(frozen=True)
class Graph:
    """One ONNX graph: its module, named example inputs, outputs and dynamic axes."""

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    axes: Mapping[str, tuple[str, ...]]

    def write(self, folder: Path) -> None:
        """Trace and write `<name>.onnx`; every letter in `axes` becomes a dynamic axis."""
        dynamic = {
            tensor: {i: letter for i, letter in enumerate(letters) if letter.isupper()}
            for tensor, letters in self.axes.items()
        }
        with warnings.catch_warnings():
            # The tracer warns of every Python branch; parity tests are what we go by.
            warnings.simplefilter("ignore")
            torch.onnx.export(
                self.module.eval(),
                tuple(self.inputs.values()),
                folder / f"{self.name}.onnx",
                input_names=list(self.inputs),
                output_names=list(self.outputs),
                dynamic_axes=dynamic,
                opset_version=OPSET,
                dynamo=False,
            )


def image_graph(backbone: Backbone, resolution: int) -> Graph:
    """super_images uint8 [S, R, R, 3] -> vectors float32 [S, D]."""
    pixels = torch.randint(0, 256, (2, resolution, resolution, 3), dtype=torch.uint8)
    axes = {"super_images": ("S", "R", "R2", "3"), "vectors": ("S", "d")}
    module = backbone.image_tower
    return Graph("super_image_encoder", module, {"super_images": pixels}, ("vectors",), axes)


def text_graph(backbone: Backbone) -> Graph:
    """input_ids, attention_mask int64 [Q, T] -> query float32 [Q, D].

    The example is a padded batch: traced without padding, a text tower takes its mask-free
    path and is silently wrong on padded texts ever after.
    """
    ids = torch.full((2, backbone.tokenizer_spec.buckets[0]), backbone.tokenizer_spec.pad_id)
    mask = torch.ones_like(ids)
    mask[1, ids.shape[1] // 2 :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    axes = {"input_ids": ("Q", "T"), "attention_mask": ("Q", "T"), "query": ("Q", "d")}
    return Graph("text_encoder", backbone.text_tower, inputs, ("query",), axes)


def temporal_graph(dim: int) -> Graph:
    """vectors float32 [S, D] -> units float32 [1, S, D], units_fp16 float16 [1, S, D]."""
    inputs = {"vectors": torch.randn(3, dim)}
    axes = {"vectors": ("S", "d"), "units": ("1", "S", "d"), "units_fp16": ("1", "S", "d")}
    return Graph("temporal_encoder", TemporalEncoder(), inputs, ("units", "units_fp16"), axes)


def scorer_graph(dim: int, tau: float) -> Graph:
    """query [B, D], units fp16 [B, M, D], log_weights [B, C, M] -> scores, attention."""
    inputs = {
        "query": torch.randn(2, dim),
        "units": torch.randn(2, 5, dim).to(torch.float16),
        "log_weights": torch.zeros(2, 3, 5),
    }
    axes = {
        "query": ("B", "d"),
        "units": ("B", "M", "d"),
        "log_weights": ("B", "C", "M"),
        "scores": ("B", "C"),
        "attention": ("B", "C", "M"),
    }
    outputs = ("scores", "attention")
    return Graph("attention_scorer", AttentionScorer(tau), inputs, outputs, axes)


def export_model(
    backbone: Backbone,
    folder: Path,
    *,
    name: str,
    variant: Variant,
    tau: float,
    grids: Mapping[int, int],
    fps: tuple[float, ...],
    profile: Profile,
    window: int,
    window_overlap: int,
) -> Manifest:
    """Write four graphs, `tokenizer.json` and `manifest.json`; return the manifest.

    Raises:
        InvalidInput: the backbone does not read one of the resolutions in `grids`.
    """
    for resolution in grids.values():
        backbone.check_resolution(resolution)
    folder.mkdir(parents=True, exist_ok=True)
    graphs = (
        image_graph(backbone, grids[min(grids)]),
        temporal_graph(backbone.dim),
        text_graph(backbone),
        scorer_graph(backbone.dim, tau),
    )
    for graph in graphs:
        graph.write(folder)
    backbone.save_tokenizer(folder)
    names = [f"{graph.name}.onnx" for graph in graphs] + [TOKENIZER_NAME]
    manifest = Manifest(
        name=name,
        backbone=backbone.name,
        variant=variant,
        weights=weights_digest(backbone),
        dim=backbone.dim,
        window=window,
        window_overlap=window_overlap,
        tau=tau,
        grids=dict(grids),
        fps=fps,
        preprocessing=Preprocessing(),
        tokenizer=backbone.tokenizer_spec,
        profile=profile,
        files={file: sha256_of(folder / file) for file in names},
    )
    write_manifest(manifest, folder)
    return manifest
