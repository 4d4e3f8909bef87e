"""Triton's configs against the graphs, against each other, and against what the README says."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from google.protobuf import text_format

from qasir.manifest import read_manifest
from qasir.triton import ENSEMBLES, MODELS
from service.models.triton_config import CONFIG_NAME, TEMPLATES, WHEEL_NAME, read_config

TYPES = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(int64)": "INT64",
    "tensor(float)": "FP32",
    "tensor(float16)": "FP16",
}
NUMPY = {
    "BOOL": np.bool_,
    "UINT8": np.uint8,
    "INT64": np.int64,
    "FP32": np.float32,
    "FP16": np.float16,
}
WINDOW = 64
README = (TEMPLATES / "README.md").read_text()
# A size for every letter of the README, no two alike; R, F' and D are the model's own.
SIZES = {"S": 3, "N": 2, "P": 4, "1+P": 5, "S·P": 12, "Q": 6, "B": 7, "T": 8}
SIZES |= {"C": 9, "M": 10, "K": 11, "1": 1, "3": 3}


def config(name: str, variant: str = CONFIG_NAME) -> Any:
    return read_config(TEMPLATES / name / variant)


def type_of(tensor: Any) -> str:
    name: str = (
        type(tensor)
        .DESCRIPTOR.fields_by_name["data_type"]
        .enum_type.values_by_number[tensor.data_type]
        .name
    )
    return name.removeprefix("TYPE_")


def full_shape(model: Any, tensor: Any) -> list[int]:
    return [-1] * bool(model.max_batch_size) + list(tensor.dims)


def tensors(model: Any) -> dict[str, tuple[str, list[int]]]:
    both = [*model.input, *model.output]
    return {tensor.name: (type_of(tensor), full_shape(model, tensor)) for tensor in both}


@pytest.mark.parametrize("export", ["tiny_export", "tuned_export", "lite_export"])
@pytest.mark.parametrize("name", MODELS)
def test_a_config_names_the_tensors_of_its_graph(
    name: str, export: str, request: pytest.FixtureRequest
) -> None:
    folder: Path = request.getfixturevalue(export)
    session = onnxruntime.InferenceSession(folder / f"{name}.onnx")
    described = tensors(config(name))
    both = [*session.get_inputs(), *session.get_outputs()]
    assert [tensor.name for tensor in both] == list(described)
    for tensor in both:
        kind, shape = described[tensor.name]
        assert TYPES[tensor.type] == kind
        assert len(tensor.shape) == len(shape)
        for said, real in zip(shape, tensor.shape, strict=True):
            assert said in (-1, real), f"{name}: {tensor.name} is {tensor.shape}, config {shape}"


@pytest.mark.parametrize("name", MODELS)
def test_the_wheel_variant_differs_in_how_it_runs_only(name: str) -> None:
    native, wheel = config(name), config(name, WHEEL_NAME)
    assert (native.backend, wheel.backend) == ("onnxruntime", "python")
    for each in (native, wheel):
        for own in ("backend", "default_model_filename", "instance_group", "parameters"):
            each.ClearField(own)
    assert text_format.MessageToString(native) == text_format.MessageToString(wheel)


@pytest.mark.parametrize("variant", [CONFIG_NAME, WHEEL_NAME])
@pytest.mark.parametrize("name", MODELS)
def test_every_queue_is_bounded(name: str, variant: str) -> None:
    model = config(name, variant)
    policy = model.dynamic_batching.default_queue_policy
    assert 0 < policy.max_queue_size <= 256
    assert policy.default_timeout_microseconds > 0
    assert policy.timeout_action == policy.REJECT
    # With a bounded queue and one instance, Triton 2.51 lets a request wait 500 ms at times.
    assert all(group.count >= 2 for group in model.instance_group)


# temporal_encoder has no warm-up: see its config.
@pytest.mark.parametrize("name", ["super_image_encoder", "text_encoder", "attention_scorer"])
def test_a_model_is_warmed_up_with_its_own_inputs(name: str) -> None:
    model = config(name)
    (sample,) = model.model_warmup
    described = {tensor.name: tensor for tensor in model.input}
    assert sample.inputs.keys() == described.keys()
    for key, tensor in sample.inputs.items():
        assert tensor.data_type == described[key].data_type
        assert len(tensor.dims) == len(described[key].dims)


def test_a_window_fits_the_image_encoder() -> None:
    assert config("super_image_encoder").max_batch_size >= WINDOW


@pytest.mark.parametrize("name", ENSEMBLES)
def test_an_ensemble_joins_what_fits(name: str) -> None:
    ensemble = config(name)
    available = {tensor.name: type_of(tensor) for tensor in ensemble.input}
    for step in ensemble.ensemble_scheduling.step:
        model = config(step.model_name)
        inputs = {tensor.name: type_of(tensor) for tensor in model.input}
        outputs = {tensor.name: type_of(tensor) for tensor in model.output}
        assert step.input_map.keys() == inputs.keys()
        for inner, outer in step.input_map.items():
            assert available[outer] == inputs[inner]
        available |= {outer: outputs[inner] for inner, outer in step.output_map.items()}
    for tensor in ensemble.output:
        assert available[tensor.name] == type_of(tensor)


def documented(name: str) -> list[tuple[str, str, str, list[str]]]:
    """In or out, tensor, type and axes: what the README says of a model."""
    row = rf"^\| `{name}` \| (in|out) \| `(\w+)` \| (\w+) \| \[(.*)\] \|"
    rows = re.findall(row, README, re.MULTILINE)
    return [(way, tensor, kind, shape.split(", ")) for way, tensor, kind, shape in rows]


@pytest.mark.parametrize("name", [*MODELS, *ENSEMBLES])
def test_the_readme_has_every_tensor(name: str) -> None:
    letters = {"1": 1, "3": 3}
    rows = documented(name)
    model = config(name)
    told = {
        tensor: (kind, [letters.get(axis, -1) for axis in axes]) for _, tensor, kind, axes in rows
    }
    assert told == tensors(model)
    directions = {tensor: way for way, tensor, _, _ in rows}
    assert {t for t, way in directions.items() if way == "in"} == {t.name for t in model.input}


@pytest.mark.parametrize("name", MODELS)
def test_the_axes_of_the_readme_are_those_of_the_graph(name: str, tiny_export: Path) -> None:
    """Whatever S, N, Q, … are: a graph that is fed by the README answers by the README."""
    manifest = read_manifest(tiny_export)
    session = onnxruntime.InferenceSession(tiny_export / f"{name}.onnx")
    encoder = onnxruntime.InferenceSession(tiny_export / "super_image_encoder.onnx")
    (features,) = encoder.get_outputs()
    sizes = {**SIZES, "R": manifest.grids[2], "D": manifest.dim, "F'": features.shape[-1]}
    rows = documented(name)
    given: dict[str, np.ndarray[Any, Any]] = {
        tensor: np.full([sizes[axis] for axis in axes], 2 if tensor == "grid_size" else 1, kind)
        for way, tensor, kind, axes in ((w, t, NUMPY[k], a) for w, t, k, a in rows)
        if way == "in"
    }
    wanted = [(tensor, axes) for way, tensor, _, axes in rows if way == "out"]
    answers = session.run([tensor for tensor, _ in wanted], given)
    for (tensor, axes), answer in zip(wanted, answers, strict=True):
        assert list(answer.shape) == [sizes[axis] for axis in axes], tensor
        assert np.isfinite(answer.astype(np.float32)).all(), tensor


def test_the_readme_says_how_each_model_batches() -> None:
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| (\d+) \| (\d+) s \|", README, re.MULTILINE)
    assert [name for name, *_ in rows] == list(MODELS)
    for name, batch, waiting, seconds in rows:
        for variant in (CONFIG_NAME, WHEEL_NAME):
            model = config(name, variant)
            policy = model.dynamic_batching.default_queue_policy
            size = 0 if batch == "one window a call" else int(batch.split()[0])
            assert model.max_batch_size == size
            assert policy.max_queue_size == int(waiting)
            assert policy.default_timeout_microseconds == int(seconds) * 1_000_000
    ensembles = {name: config(name).max_batch_size for name in ENSEMBLES}
    assert ensembles == {"encode_video": 0, "match": 0, "rank": config(MODELS[-1]).max_batch_size}
