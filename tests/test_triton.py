"""torch = ONNX Runtime = Triton for every model and ensemble, zero-shot and fine-tuned."""

import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import tritonclient.grpc as protocol
from tritonclient.utils import np_to_triton_dtype

from qasir.errors import InvalidInput
from qasir.manifest import read_manifest
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import Retriever
from qasir.search import ScorerInput
from qasir.text import Tokenizer, Tokens
from qasir.triton import Triton
from qasir.types import Bool, Float16, Float32
from tests.support.triton import ROOT, RunningTriton
from tests.support.windows import Arrays, padded, pictures, window_of

TOLERANCE = 1e-3
UNPADDED = ["a dog and a cat in the house on a red ball of the blue car and a green dog runs on"]
TEXTS = [["a dog"], UNPADDED, ["a dog", *UNPADDED], ["the cat sits"] * 5]


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


def candidates_of(
    batch: int, super_images: int, cells: int, videos: int, grid_size: int = 2, dim: int = 32
) -> Arrays:
    """What the scorer reads besides the query: super images and cells of `videos` videos."""
    rng = np.random.default_rng(super_images)

    def branch(count: int) -> tuple[Float16, Float32]:
        vectors = rng.normal(size=(batch, count, dim))
        vectors /= np.linalg.norm(vectors, axis=-1, keepdims=True)
        mine = rng.integers(0, videos, (batch, 1, count)) == np.arange(videos)[:, None]
        return vectors.astype(np.float16), np.where(mine, 0.0, -1e9).astype(np.float32)

    whole, log_weights = branch(super_images)
    parts, cell_log_weights = branch(cells)
    return {
        "super_image_embeddings": whole,
        "log_weights": log_weights,
        "cell_embeddings": parts,
        "cell_log_weights": cell_log_weights,
        "grid_size": np.full((batch, 1), grid_size),
    }


@pytest.fixture(scope="module")
def tokenizer(tiny_export: Path) -> Tokenizer:
    return Tokenizer.load(tiny_export, read_manifest(tiny_export).tokenizer)


def as_arrays(tokens: Tokens) -> Arrays:
    return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}


@pytest.mark.parametrize(("count", "grid_size"), [(1, 1), (3, 2), (64, 2), (10, 3)])
def test_super_image_encoder(
    triton_server: RunningTriton,
    tiny_export: Path,
    tiny_backbone: Backbone,
    count: int,
    grid_size: int,
) -> None:
    inputs = window_of(count, grid_size)
    found = ask(triton_server.url, "super_image_encoder", inputs)
    assert_close(found, run_graph(tiny_export, "super_image_encoder", inputs))
    with torch.inference_mode():
        expected = tiny_backbone.image_tower(*map(torch.from_numpy, inputs.values()))
    np.testing.assert_allclose(found["features"], expected.numpy(), atol=TOLERANCE)


def test_grid_sizes_at_the_same_time_never_mix(
    triton_server: RunningTriton, tiny_export: Path
) -> None:
    """What is batched has one shape; the rest waits for its turn."""
    windows = [window_of(3 + n, n) for n in (1, 2, 3)]
    expected = [run_graph(tiny_export, "super_image_encoder", window) for window in windows]

    def encode(turn: int) -> None:
        found = ask(triton_server.url, "super_image_encoder", windows[turn % 3])
        assert_close(found, expected[turn % 3])

    with ThreadPoolExecutor(12) as pool:
        list(pool.map(encode, range(48)))


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


@pytest.mark.parametrize(("count", "grid_size"), [(1, 1), (64, 2), (5, 3)])
def test_temporal_encoder(
    triton_server: RunningTriton, tiny_export: Path, count: int, grid_size: int
) -> None:
    cells = grid_size**2
    features = np.random.default_rng(0).normal(size=(count, 1 + cells, 32)).astype(np.float32)
    inputs = {"features": features, "mask": window_of(count, grid_size)["mask"]}
    found = ask(triton_server.url, "temporal_encoder", inputs)
    assert_close(found, run_graph(tiny_export, "temporal_encoder", inputs))
    embeddings, real = found["embeddings"][0], padded(count, grid_size)
    assert embeddings.shape == (count, 1 + cells, 32)
    np.testing.assert_array_equal(
        found["super_image_embeddings"][0], embeddings[:, 0].astype(np.float16)
    )
    flat = embeddings[:, 1:].reshape(count * cells, 32)
    np.testing.assert_array_equal(found["cell_embeddings"][0], flat.astype(np.float16))
    assert found["log_weights"].tolist() == [[[0.0] * count]]
    np.testing.assert_array_equal(found["cell_log_weights"][0, 0] == 0, real.ravel())
    assert set(found["cell_log_weights"].ravel()) <= {0.0, np.float32(-1e9)}
    assert found["grid_size"].tolist() == [[grid_size]]


@pytest.mark.parametrize(
    ("batch", "super_images", "cells", "videos"), [(1, 1, 1, 1), (2, 40, 90, 5), (16, 896, 64, 50)]
)
def test_attention_scorer(
    triton_server: RunningTriton,
    tiny_export: Path,
    batch: int,
    super_images: int,
    cells: int,
    videos: int,
) -> None:
    query = np.random.default_rng(1).normal(size=(batch, 32)).astype(np.float32)
    inputs = {"query": query, **candidates_of(batch, super_images, cells, videos)}
    inputs["grid_size"][::2] = 1
    found = ask(triton_server.url, "attention_scorer", inputs)
    assert_close(found, run_graph(tiny_export, "attention_scorer", inputs))


@pytest.mark.parametrize(("count", "grid_size"), [(1, 2), (5, 1), (64, 2), (5, 3)])
def test_encode_video(
    triton_server: RunningTriton, triton: Triton, tiny_export: Path, count: int, grid_size: int
) -> None:
    inputs, mask = window_of(count, grid_size), padded(count, grid_size)
    expected = run_window(tiny_export, inputs)["embeddings"]
    found = ask(triton_server.url, "encode_video", inputs)
    assert_close(found, {"embeddings": expected})
    embeddings = triton.encode_video(triton_server.version, inputs["super_images"], mask)
    np.testing.assert_array_equal(embeddings, found["embeddings"][0])
    real = np.concatenate([np.ones((count, 1), np.bool_), mask], axis=1)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), real, atol=1e-5)


def run_window(folder: Path, inputs: Arrays) -> Arrays:
    features = run_graph(folder, "super_image_encoder", inputs)
    return run_graph(folder, "temporal_encoder", {**features, "mask": inputs["mask"]})


@pytest.mark.parametrize("texts", TEXTS)
def test_rank(
    triton_server: RunningTriton, tiny_export: Path, tokenizer: Tokenizer, texts: list[str]
) -> None:
    tokens = as_arrays(tokenizer.encode(texts))
    candidates = candidates_of(len(texts), 24, 64, 4)
    query = run_graph(tiny_export, "text_encoder", tokens)
    expected = run_graph(tiny_export, "attention_scorer", {**query, **candidates})
    assert_close(ask(triton_server.url, "rank", {**tokens, **candidates}), expected)


def one_video(embeddings: Float32, mask: Bool) -> ScorerInput:
    """All super images and all cells of one video, padded ones too, as the scorer's input."""
    cells = embeddings[:, 1:].reshape(-1, embeddings.shape[-1])
    return ScorerInput(
        embeddings[:, 0].astype(np.float16),
        np.zeros((1, len(embeddings)), np.float32),
        cells.astype(np.float16),
        np.where(mask.reshape(1, -1), 0.0, -1e9).astype(np.float32),
    )


@pytest.mark.parametrize("server", ["triton_server", "tuned_server"])
@pytest.mark.parametrize("grid_size", [1, 2])
@pytest.mark.parametrize("text", ["a dog", *UNPADDED])
def test_every_way_to_a_score_gives_the_same(
    server: str, request: pytest.FixtureRequest, tokenizer: Tokenizer, text: str, grid_size: int
) -> None:
    running: RunningTriton = request.getfixturevalue(server)
    version, tokens = running.version, tokenizer.encode([text])
    pixels, mask = pictures(7), padded(7, grid_size)
    with Triton(running.url) as triton:
        video = one_video(triton.encode_video(version, pixels, mask), mask)
        query = triton.encode_text(version, tokens)[0]
        scored = triton.score(version, query, video, grid_size)
        ranked = triton.rank(version, tokens, video, grid_size)
        matched = triton.match(version, pixels, mask, tokens)
    np.testing.assert_allclose(ranked.scores, scored, atol=1e-5)
    np.testing.assert_allclose(matched.score, scored[0], atol=1e-5)
    np.testing.assert_allclose(matched.attention, ranked.attention[0], atol=1e-5)
    found = matched.cell_attention
    np.testing.assert_allclose(found, ranked.cell_attention[0].reshape(mask.shape), atol=1e-5)
    assert (found[~mask] == 0).all()
    np.testing.assert_allclose(found.sum(), 1, atol=1e-5)


@pytest.mark.parametrize(("count", "grid_size"), [(1, 1), (5, 2), (64, 2), (4, 3)])
def test_a_fine_tuned_model_is_its_torch(
    tuned_server: RunningTriton,
    tuned_export: Path,
    tiny_backbone: Backbone,
    tiny_retriever: Retriever,
    tokenizer: Tokenizer,
    count: int,
    grid_size: int,
) -> None:
    inputs, tokens = window_of(count, grid_size), tokenizer.encode(TEXTS[2])
    with torch.inference_mode():
        pixels, mask = map(torch.from_numpy, inputs.values())
        features = tiny_backbone.image_tower(pixels, mask)
        embeddings = tiny_retriever.video(features[None], mask[None])[0].numpy()
        texts = tiny_backbone.text_tower(*map(torch.from_numpy, as_arrays(tokens).values()))
        query = tiny_retriever.text(texts).numpy()
    with Triton(tuned_server.url) as triton:
        found = triton.encode_video(1, inputs["super_images"], padded(count, grid_size))
        np.testing.assert_allclose(triton.encode_text(1, tokens), query, atol=TOLERANCE)
    np.testing.assert_allclose(
        found, run_window(tuned_export, inputs)["embeddings"][0], atol=TOLERANCE
    )
    np.testing.assert_allclose(found, embeddings, atol=TOLERANCE)


def test_a_mask_that_does_not_fit_never_leaves_the_client() -> None:
    with Triton("127.0.0.1:1") as triton:
        for shape in [(3, 4), (2, 5)]:
            with pytest.raises(InvalidInput, match=r"mask \(\d, \d\) does not fit super images"):
                triton.encode_video(1, pictures(2), np.ones(shape, np.bool_))


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
