"""The wheel variant's model: one ONNX Runtime session behind Triton's Python backend.

Triton's wheel has no onnxruntime backend, so `configs/wheel.pbtxt` runs the same `model.onnx`
with this file, which the model store copies beside the graph as `model.py`. Tensors, BOOL
included, cross only by DLPack: under numpy 2 the wheel's `as_numpy()` reads wrong strides.
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
    """Run a batch of requests joined along axis 0, for the outputs that any of them asks for."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        values = {name: int(p["string_value"]) for name, p in config["parameters"].items()}
        options = ort.SessionOptions()
        options.intra_op_num_threads = values["intra_op_thread_count"]
        # Idle threads would spin on cores that decode the next window.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self.rows = values.get("rows_per_run", 0)
        folder = Path(args["model_repository"], args["model_version"])
        self.session = ort.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        batch = [self._read(request) for request in requests]
        requested = {name for request in requests for name in request.requested_output_names()}
        try:
            return self._run(batch, [name for name in self.outputs if name in requested])
        except Exception as error:  # noqa: BLE001 - any error of the session is an answer to its request
            if len(batch) == 1:
                return [pb_utils.InferenceResponse(error=to_error(error))]
        # One bad request must not fail its batch: run each request alone.
        return [response for request in requests for response in self.execute([request])]

    def _read(self, request: Any) -> Arrays:
        return {
            name: np.from_dlpack(pb_utils.get_input_tensor_by_name(request, name))
            for name in self.inputs
        }

    def _run(self, batch: list[Arrays], names: list[str]) -> list[Any]:
        joined = {name: np.concatenate([arrays[name] for arrays in batch]) for name in self.inputs}
        counts = [len(arrays[self.inputs[0]]) for arrays in batch]
        outputs = self._run_chunks(joined, sum(counts), names)
        parts = zip(*(np.split(out, np.cumsum(counts)[:-1]) for out in outputs), strict=True)
        return [respond(names, part) for part in parts]

    def _run_chunks(
        self, joined: Arrays, count: int, names: list[str]
    ) -> list[np.ndarray[Any, Any]]:
        rows = self.rows or count
        chunks = [
            self.session.run(names, {k: a[begin : begin + rows] for k, a in joined.items()})
            for begin in range(0, count, rows)
        ]
        return [np.concatenate(parts) for parts in zip(*chunks, strict=True)]


def respond(names: list[str], arrays: tuple[np.ndarray[Any, Any], ...]) -> Any:
    pairs = zip(names, arrays, strict=True)
    return pb_utils.InferenceResponse([to_tensor(name, array) for name, array in pairs])


def to_error(error: Exception) -> Any:
    """Map an error: a token outside the vocabulary is the caller's, anything else is internal."""
    ours = not isinstance(error, InvalidArgument)
    code = pb_utils.TritonError.INTERNAL if ours else pb_utils.TritonError.INVALID_ARG
    return pb_utils.TritonError(str(error), code)


def to_tensor(name: str, array: np.ndarray[Any, Any]) -> Any:
    """Pass an array to Triton without a copy.

    The backend renames the capsule that it takes, and numpy would print an error when it frees
    the array; so this restores the standard name of a used capsule.
    """
    capsule = array.__dlpack__()
    tensor = pb_utils.Tensor.from_dlpack(name, capsule)
    ctypes.pythonapi.PyCapsule_SetName(ctypes.py_object(capsule), USED)
    return tensor
