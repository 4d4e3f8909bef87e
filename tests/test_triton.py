"""torch = ONNX Runtime = Triton for every model and ensemble, and every way Triton can refuse."""

import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import onnxruntime
import pytest
import torch
import tritonclient.grpc as protocol
from tritonclient.utils import np_to_triton_dtype

from qasir.errors import InvalidConfig, InvalidInput, ModelUnavailable, Overloaded, QasirError
from qasir.manifest import read_manifest
from qasir.modeling.backbones import Backbone
from qasir.text import Tokenizer, Tokens
from qasir.triton import ENSEMBLES, KEY_HEADER, MODELS, Triton
from qasir.types import Float32, Uint8
from tests.fixtures.triton import ROOT, RunningTriton

TOLERANCE = 1e-3
UNPADDED = ["a dog and a cat in the house on a red ball of the blue car and a green dog runs on"]
TEXTS = [["a dog"], UNPADDED, ["a dog", *UNPADDED], ["the cat sits"] * 5]
Arrays = dict[str, np.ndarray[Any, Any]]


def ask(url: str, model: str, inputs: Arrays, version: str = "") -> Arrays:
    """Any Triton model by its own client, without the client under test."""
    tensors = []
    for name, array in inputs.items():
        tensor = protocol.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensors.append(tensor.set_data_from_numpy(array))
    with protocol.InferenceServerClient(url) as client:
        answer = client.infer(model, tensors, version)
    return {out.name: answer.as_numpy(out.name) for out in answer.get_response().outputs}


def run_graph(folder: Path, model: str, inputs: Arrays) -> Arrays:
    session = onnxruntime.InferenceSession(folder / f"{model}.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def assert_close(found: Arrays, expected: Arrays) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].shape == array.shape
        np.testing.assert_allclose(found[name], array, atol=TOLERANCE)


def pictures(count: int, seed: int = 0) -> Uint8:
    return np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8)


def units_of(batch: int, units: int, videos: int, dim: int = 32) -> Arrays:
    rng = np.random.default_rng(units)
    vectors = rng.normal(size=(batch, units, dim))
    vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
    mine = rng.integers(0, videos, (batch, 1, units)) == np.arange(videos)[:, None]
    weights = np.where(mine, 0.0, -1e9).astype(np.float32)
    return {"units": vectors.astype(np.float16), "log_weights": weights}


@pytest.fixture(scope="module")
def tokenizer(tiny_export: Path) -> Tokenizer:
    return Tokenizer.load(tiny_export, read_manifest(tiny_export).tokenizer)


def as_arrays(tokens: Tokens) -> Arrays:
    return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}


@pytest.mark.parametrize("count", [1, 3, 64])
def test_super_image_encoder(
    triton_server: RunningTriton, tiny_export: Path, tiny_backbone: Backbone, count: int
) -> None:
    inputs = {"super_images": pictures(count)}
    found = ask(triton_server.url, "super_image_encoder", inputs)
    assert_close(found, run_graph(tiny_export, "super_image_encoder", inputs))
    with torch.inference_mode():
        expected = tiny_backbone.image_tower(torch.from_numpy(inputs["super_images"]))
    np.testing.assert_allclose(found["vectors"], expected.numpy(), atol=TOLERANCE)


@pytest.mark.parametrize("texts", TEXTS)
def test_text_encoder(
    triton_server: RunningTriton,
    tiny_export: Path,
    tiny_backbone: Backbone,
    tokenizer: Tokenizer,
    texts: list[str],
) -> None:
    inputs = as_arrays(tokenizer.encode(texts))
    found = ask(triton_server.url, "text_encoder", inputs)
    assert_close(found, run_graph(tiny_export, "text_encoder", inputs))
    with torch.inference_mode():
        expected = tiny_backbone.text_tower(*map(torch.from_numpy, inputs.values()))
    np.testing.assert_allclose(found["query"], expected.numpy(), atol=TOLERANCE)


def test_the_texts_are_padded_and_unpadded(tokenizer: Tokenizer) -> None:
    padded = {bool((tokenizer.encode(texts).attention_mask == 0).any()) for texts in TEXTS}
    assert padded == {True, False}


@pytest.mark.parametrize("count", [1, 64])
def test_temporal_encoder(triton_server: RunningTriton, tiny_export: Path, count: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(count, 32)).astype(np.float32)
    found = ask(triton_server.url, "temporal_encoder", {"vectors": vectors})
    assert found["units"].shape == (1, count, 32)
    assert_close(found, run_graph(tiny_export, "temporal_encoder", {"vectors": vectors}))


@pytest.mark.parametrize(("batch", "units", "videos"), [(1, 1, 1), (2, 40, 5), (16, 850, 50)])
def test_attention_scorer(
    triton_server: RunningTriton, tiny_export: Path, batch: int, units: int, videos: int
) -> None:
    query = np.random.default_rng(1).normal(size=(batch, 32)).astype(np.float32)
    inputs = {"query": query, **units_of(batch, units, videos)}
    found = ask(triton_server.url, "attention_scorer", inputs)
    assert_close(found, run_graph(tiny_export, "attention_scorer", inputs))


@pytest.mark.parametrize("count", [1, 5, 64])
def test_encode_video(
    triton_server: RunningTriton, triton: Triton, tiny_export: Path, count: int
) -> None:
    inputs = {"super_images": pictures(count)}
    vectors = run_graph(tiny_export, "super_image_encoder", inputs)
    expected = run_graph(tiny_export, "temporal_encoder", vectors)["units"]
    found = ask(triton_server.url, "encode_video", inputs)
    assert_close(found, {"units": expected})
    units = triton.encode_video(triton_server.version, inputs["super_images"])
    np.testing.assert_array_equal(units, found["units"][0])


@pytest.mark.parametrize("texts", TEXTS)
def test_rank(
    triton_server: RunningTriton, tiny_export: Path, tokenizer: Tokenizer, texts: list[str]
) -> None:
    tokens = as_arrays(tokenizer.encode(texts))
    candidates = units_of(len(texts), 24, 4)
    query = run_graph(tiny_export, "text_encoder", tokens)
    expected = run_graph(tiny_export, "attention_scorer", {**query, **candidates})
    assert_close(ask(triton_server.url, "rank", {**tokens, **candidates}), expected)


@pytest.mark.parametrize("text", ["a dog", *UNPADDED])
def test_every_way_to_a_score_gives_the_same(
    triton_server: RunningTriton, triton: Triton, tokenizer: Tokenizer, text: str
) -> None:
    version, tokens, pixels = triton_server.version, tokenizer.encode([text]), pictures(7)
    units = triton.encode_video(version, pixels).astype(np.float16)
    query = triton.encode_text(version, tokens)[0]
    mine = np.zeros((1, 7), np.float32)
    scored = triton.score(version, query, units, mine)
    ranked = triton.rank(version, tokens, units, mine)
    matched = triton.match(version, pixels, tokens)
    np.testing.assert_allclose(ranked.scores, scored.scores, atol=1e-5)
    np.testing.assert_allclose(ranked.attention, scored.attention, atol=1e-5)
    np.testing.assert_allclose(matched.score, scored.scores[0], atol=1e-5)
    np.testing.assert_allclose(matched.attention, scored.attention[0], atol=1e-5)


@pytest.mark.parametrize("shape", [(65, 64, 64, 3), (2, 64, 64, 4), (2, 64, 3), (0, 64, 64, 3)])
def test_wrong_shapes_are_the_callers_fault(
    triton_server: RunningTriton, triton: Triton, shape: tuple[int, ...]
) -> None:
    with pytest.raises(InvalidInput, match="encode_video_v1 refuses the request"):
        triton.encode_video(triton_server.version, np.zeros(shape, np.uint8))


def test_a_token_outside_the_vocabulary_is_the_callers_fault(
    triton_server: RunningTriton, triton: Triton
) -> None:
    ids = np.full((1, 16), 10_000)
    with pytest.raises(InvalidInput, match="text_encoder refuses the request"):
        triton.encode_text(triton_server.version, Tokens(ids, np.ones_like(ids)))


def test_another_version_is_never_answered(triton: Triton, tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelUnavailable, match="text_encoder"):
        triton.encode_text(99, tokenizer.encode(["a dog"]))
    with pytest.raises(ModelUnavailable, match="encode_video_v99"):
        triton.encode_video(99, pictures(1))
    assert not triton.ready(99)


def test_a_bad_request_does_not_fail_its_batch(
    triton_server: RunningTriton, triton: Triton, tokenizer: Tokenizer
) -> None:
    version, good = triton_server.version, tokenizer.encode(["a dog"])
    bad = Tokens(np.full_like(good.input_ids, 10_000), good.attention_mask)
    expected = triton.encode_text(version, good)
    before = batches(triton_server)

    def ask_for(tokens: Tokens) -> Float32 | str:
        try:
            return triton.encode_text(version, tokens)
        except QasirError as error:
            return error.code

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(ask_for, [bad if i % 8 == 0 else good for i in range(160)]))
    after = batches(triton_server)
    assert [answer for answer in answers if isinstance(answer, str)] == ["invalid_input"] * 20
    for answer in answers:
        if not isinstance(answer, str):
            np.testing.assert_allclose(answer, expected, atol=1e-5)
    # Otherwise nothing was batched and the above says little.
    assert after["requests"] - before["requests"] > after["runs"] - before["runs"]


def batches(server: RunningTriton) -> dict[str, int]:
    """How many requests the text encoder has had, and in how many runs."""
    url = f"{server.http_url}/v2/models/text_encoder/stats"
    (stats,) = httpx.get(url, headers={KEY_HEADER: server.key}).json()["model_stats"]
    failed = int(stats["inference_stats"]["fail"]["count"])
    return {"requests": stats["inference_count"] + failed, "runs": stats["execution_count"]}


def test_a_full_queue_is_overload_and_the_rest_is_answered(
    triton_server: RunningTriton, triton: Triton
) -> None:
    pixels = pictures(64)
    expected = triton.encode_video(triton_server.version, pixels)

    def encode(_: int) -> str:
        try:
            found = triton.encode_video(triton_server.version, pixels)
        except Overloaded as error:
            return error.code
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        return "ok"

    with ThreadPoolExecutor(64) as pool:
        counts = Counter(pool.map(encode, range(128)))
    assert counts.keys() == {"ok", "overloaded"}


def test_a_deadline_ends_the_wait(triton_server: RunningTriton, triton: Triton) -> None:
    with pytest.raises((ModelUnavailable, Overloaded), match="again later"):
        triton.encode_video(triton_server.version, pictures(64), deadline=0.001)


def eventually(true: Callable[[], bool], seconds: float = 3.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


RESTRICTED = [
    ("POST", "/v2/repository/index"),
    ("POST", "/v2/repository/models/text_encoder/unload"),
    ("GET", "/v2/systemsharedmemory/status"),
    ("GET", "/v2/cudasharedmemory/status"),
    ("GET", "/v2/models/text_encoder/config"),
    ("GET", "/v2/models/text_encoder/stats"),
    ("GET", "/v2/trace/setting"),
    ("GET", "/v2/logging"),
]


@pytest.mark.parametrize(("method", "path"), RESTRICTED)
@pytest.mark.parametrize("headers", [{}, {KEY_HEADER: "guess"}])
def test_a_restricted_api_wants_the_key(
    triton_server: RunningTriton, method: str, path: str, headers: dict[str, str]
) -> None:
    assert httpx.request(method, triton_server.http_url + path, headers=headers).status_code == 403


def test_the_key_opens_and_inference_needs_none(triton_server: RunningTriton) -> None:
    index = f"{triton_server.http_url}/v2/repository/index"
    assert httpx.post(index, headers={KEY_HEADER: triton_server.key}).status_code == 200
    with Triton(triton_server.url) as stranger:
        assert stranger.ready(triton_server.version)
        assert stranger.encode_video(triton_server.version, pictures(1)).shape == (1, 32)
        for forbidden in (stranger.load, stranger.unload, stranger.versions):
            with pytest.raises(InvalidConfig, match="QASIR_TRITON_KEY"):
                forbidden("text_encoder")


def test_versions_are_those_that_are_ready(triton_server: RunningTriton, triton: Triton) -> None:
    for model in (*MODELS, *ENSEMBLES):
        assert triton.versions(model) == [triton_server.version]
    assert triton.versions("unheard-of") == []


def test_a_client_outlives_its_server(triton_server: RunningTriton) -> None:
    with Triton(triton_server.url, deadline=5.0) as client:
        expected = client.encode_video(triton_server.version, pictures(2))
        triton_server.kill()
        try:
            assert not client.ready()
            with pytest.raises(ModelUnavailable, match=triton_server.url):
                client.encode_video(triton_server.version, pictures(2))
        finally:
            triton_server.restart()
        # gRPC itself tries again within a second of the server's return.
        eventually(client.ready)
        found = client.encode_video(triton_server.version, pictures(2))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)


@pytest.mark.parametrize("page", ["model_repository/README.md", "docs/gpu.md"])
def test_the_examples_in_the_pages_run(
    triton_server: RunningTriton,
    page: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    monkeypatch.chdir(triton_server.state.parent)
    here = example.replace("127.0.0.1:8001", triton_server.url)
    assert here != example
    exec(compile(here, page, "exec"), {})
    printed = capsys.readouterr().out.split()
    assert len(printed) >= 2
    if page == "docs/gpu.md":
        assert max(map(float, printed)) < TOLERANCE
