"""The wheel variant's model: one ONNX Runtime session behind Triton's Python backend.

Triton's wheel has no onnxruntime backend, so `configs/wheel.pbtxt` runs the same
`model.onnx` by this file (the model store copies it beside the graph as `model.py`).
Tensors, BOOL too, cross by DLPack only: under numpy 2 the wheel's `as_numpy()` reads wrong strides.
"""

import ctypes
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import triton_python_backend_utils as pb_utils
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

Arrays = dict[str, np.ndarray[Any, Any]]

USED = ctypes.c_char_p(b"used_dltensor")


class TritonPythonModel:
    """Joins the requests of a batch along axis 0, runs the graph for the outputs that any of them
    asks for, and splits the answers."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        said = {name: int(p["string_value"]) for name, p in config["parameters"].items()}
        options = ort.SessionOptions()
        options.intra_op_num_threads = said["intra_op_thread_count"]
        # Idle threads would spin for the next run, on cores that decode the next window.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.rows = said.get("rows_per_run", 0)
        folder = Path(args["model_repository"], args["model_version"])
        self.session = ort.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        batch = [self._read(request) for request in requests]
        asked = {name for request in requests for name in request.requested_output_names()}
        try:
            return self._run(batch, [name for name in self.outputs if name in asked])
        except Exception as error:  # noqa: BLE001 - whatever the session raises is this request's
            if len(batch) == 1:
                return [pb_utils.InferenceResponse(error=to_error(error))]
        # One bad request must not fail its batch: find it by running each alone.
        return [response for request in requests for response in self.execute([request])]

    def _read(self, request: Any) -> Arrays:
        return {
            name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
            for name in self.inputs
        }

    def _run(self, batch: list[Arrays], names: list[str]) -> list[Any]:
        joined = {name: np.concatenate([arrays[name] for arrays in batch]) for name in self.inputs}
        counts = [len(arrays[self.inputs[0]]) for arrays in batch]
        outputs = self._run_in_pieces(joined, sum(counts), names)
        parts = zip(*(np.split(out, np.cumsum(counts)[:-1]) for out in outputs), strict=True)
        return [respond(names, part) for part in parts]

    def _run_in_pieces(
        self, joined: Arrays, count: int, names: list[str]
    ) -> list[np.ndarray[Any, Any]]:
        rows = self.rows or count
        pieces = [
            self.session.run(names, {k: a[begin : begin + rows] for k, a in joined.items()})
            for begin in range(0, count, rows)
        ]
        return [np.concatenate(parts) for parts in zip(*pieces, strict=True)]


def respond(names: list[str], arrays: tuple[np.ndarray[Any, Any], ...]) -> Any:
    """One request's answer."""
    pairs = zip(names, arrays, strict=True)
    return pb_utils.InferenceResponse([to_tensor(name, array) for name, array in pairs])


def to_error(error: Exception) -> Any:
    """A token outside the vocabulary is the caller's fault; anything else is ours."""
    ours = not isinstance(error, InvalidArgument)
    code = pb_utils.TritonError.INTERNAL if ours else pb_utils.TritonError.INVALID_ARG
    return pb_utils.TritonError(str(error), code)


def to_tensor(name: str, array: np.ndarray[Any, Any]) -> Any:
    """Hand an array to Triton without a copy.

    The backend marks a capsule it took with a name of its own, and numpy would print
    an error for each when it is freed; so it gets the standard name here.
    """
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), USED)
    return tensor
