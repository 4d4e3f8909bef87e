"""Trace a module to an ONNX graph with named axes."""

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

OPSET = 17


@dataclass(frozen=True)
class Graph:
    """One ONNX graph: its module, named example inputs, outputs and axis letters.

    Axes in upper case (S, 1+P) are dynamic, axes in lower case are constant in the graph.
    """

    name: str
    module: nn.Module
    inputs: Mapping[str, Tensor]
    outputs: tuple[str, ...]
    axes: Mapping[str, tuple[str, ...]]

    def write(self, folder: Path) -> None:
        """Trace the module and write `<name>.onnx`."""
        dynamic = {
            tensor: {i: letter for i, letter in enumerate(letters) if letter.isupper()}
            for tensor, letters in self.axes.items()
        }
        with warnings.catch_warnings():
            # The tracer warns of every Python branch; the parity tests are what counts.
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
