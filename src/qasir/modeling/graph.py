"""One module traced to an ONNX graph, with its axes named."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 17


@dataclass(frozen=True)
class Graph:
    """One ONNX graph: its module, named example inputs, outputs and the letters of all axes.

    A letter in capitals (S, 1+P) is a dynamic axis; a small one is constant in the graph.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    axes: Mapping[str, tuple[str, ...]]

    def write(self, folder: Path) -> None:
        """Trace and write `<name>.onnx`."""
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
