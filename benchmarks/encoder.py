"""Runs the video side of a fine-tuned model on ONNX Runtime, as Triton does: two graphs.

Learned weights are random, which takes equally long.
"""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

from qasir.config import load_params
from qasir.modeling.backbones import Backbone
from qasir.modeling.export import image_graph, temporal_graph
from qasir.modeling.graph import Graph
from qasir.modeling.retriever import untrained
from qasir.types import Bool, Float32, Uint8


class Encoder:
    """A backbone with the adapters and temporal encoder of params.yaml, for side R."""

    def __init__(self, backbone: Backbone, resolution: int) -> None:
        self._images = session(image_graph(backbone, resolution))
        params = load_params()
        retriever = untrained(backbone, params.finetune.retriever, tuple(params.grids))
        self._temporal = session(temporal_graph(backbone, retriever.eval()))

    def embeddings(self, pixels: Uint8, mask: Bool) -> Float32:
        """uint8 [S, R, R, 3], bool [S, P] -> float32 [S, 1+P, D]."""
        square = grid_mask(mask)
        (features,) = self._images.run(None, {"super_images": pixels, "mask": square})
        (embeddings,) = self._temporal.run(["embeddings"], {"features": features, "mask": square})
        return np.asarray(embeddings[0], np.float32)


def session(graph: Graph) -> onnxruntime.InferenceSession:
    """Writes a graph and opens it."""
    with TemporaryDirectory() as folder:
        graph.write(Path(folder))
        return onnxruntime.InferenceSession(Path(folder) / f"{graph.name}.onnx")


def grid_mask(mask: Bool) -> Bool:
    """Reshapes a mask bool [S, P] to [S, N, N], the input of the graphs."""
    side = round(mask.shape[1] ** 0.5)
    return mask.reshape(-1, side, side)
