"""The wheel variant's model: one ONNX Runtime session behind Triton's Python backend.

Triton's wheel has no onnxruntime backend, so `configs/wheel.pbtxt` runs the same
`model.onnx` by this file (the model store copies it beside the graph as `model.py`).
Tensors cross by DLPack only: under numpy 2 the wheel's `as_numpy()` reads wrong strides.
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
    """Joins the requests of a batch along axis 0, runs once, and splits the answers."""

    def initialize(self, args: dict[str, str]) -> None:
        config = json.loads(args["model_config"])
        options = ort.SessionOptions()
        threads = config["parameters"].get("intra_op_thread_count", {"string_value": "0"})
        options.intra_op_num_threads = int(threads["string_value"])
        folder = Path(args["model_repository"], args["model_version"])
        self.session = ort.InferenceSession(
            folder / "model.onnx", options, providers=["CPUExecutionProvider"]
        )
        self.inputs = [tensor["name"] for tensor in config["input"]]
        self.outputs = [tensor["name"] for tensor in config["output"]]

    def execute(self, requests: list[Any]) -> list[Any]:
        batch = [self._read(request) for request in requests]
        try:
            return self._run(batch)
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

    def _run(self, batch: list[Arrays]) -> list[Any]:
        joined = {name: np.concatenate([arrays[name] for arrays in batch]) for name in self.inputs}
        outputs = self.session.run(self.outputs, joined)
        ends = np.cumsum([len(arrays[self.inputs[0]]) for arrays in batch])[:-1]
        parts = zip(*(np.split(output, ends) for output in outputs), strict=True)
        return [self._respond(part) for part in parts]

    def _respond(self, arrays: tuple[np.ndarray[Any, Any], ...]) -> Any:
        pairs = zip(self.outputs, arrays, strict=True)
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
