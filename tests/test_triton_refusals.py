"""Every way Triton can refuse, be too busy or be gone, and what the client makes of it."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest

from qasir.errors import InvalidConfig, InvalidInput, ModelUnavailable, Overloaded, QasirError
from qasir.manifest import read_manifest
from qasir.text import Tokenizer, Tokens
from qasir.triton import ENSEMBLES, KEY_HEADER, MODELS, Triton
from qasir.types import Float32
from tests.support.triton import RunningTriton
from tests.support.waiting import wait_for
from tests.support.windows import padded, pictures

TOLERANCE = 1e-3


@pytest.fixture(scope="module")
def tokenizer(tiny_export: Path) -> Tokenizer:
    return Tokenizer.load(tiny_export, read_manifest(tiny_export).tokenizer)


@pytest.mark.parametrize("shape", [(65, 64, 64, 3), (2, 64, 64, 4), (2, 64, 3), (0, 64, 64, 3)])
def test_wrong_shapes_are_the_callers_fault(
    triton_server: RunningTriton, triton: Triton, shape: tuple[int, ...]
) -> None:
    mask = np.ones((shape[0], 4), np.bool_)
    with pytest.raises(InvalidInput, match="encode_video_v1 rejects the request"):
        triton.encode_video(triton_server.version, np.zeros(shape, np.uint8), mask)


def test_a_token_outside_the_vocabulary_is_the_callers_fault(
    triton_server: RunningTriton, triton: Triton
) -> None:
    ids = np.full((1, 16), 10_000)
    with pytest.raises(InvalidInput, match="text_encoder rejects the request"):
        triton.encode_text(triton_server.version, Tokens(ids, np.ones_like(ids)))


def test_another_version_is_never_answered(triton: Triton, tokenizer: Tokenizer) -> None:
    with pytest.raises(ModelUnavailable, match="text_encoder"):
        triton.encode_text(99, tokenizer.encode(["a dog"]))
    with pytest.raises(ModelUnavailable, match="encode_video_v99"):
        triton.encode_video(99, pictures(1), padded(1, 2))
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
    pixels, mask = pictures(64), padded(64, 2)
    expected = triton.encode_video(triton_server.version, pixels, mask)

    def encode(_: int) -> str:
        try:
            found = triton.encode_video(triton_server.version, pixels, mask)
        except Overloaded as error:
            return error.code
        np.testing.assert_allclose(found, expected, atol=TOLERANCE)
        return "ok"

    with ThreadPoolExecutor(64) as pool:
        counts = Counter(pool.map(encode, range(128)))
    assert counts.keys() == {"ok", "overloaded"}


def test_a_deadline_ends_the_wait(triton_server: RunningTriton, triton: Triton) -> None:
    with pytest.raises((ModelUnavailable, Overloaded), match="again later"):
        triton.encode_video(triton_server.version, pictures(64), padded(64, 2), deadline=0.001)


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
        embeddings = stranger.encode_video(triton_server.version, pictures(1), padded(1, 2))
        assert embeddings.shape == (1, 5, 32)
        for forbidden in (stranger.load, stranger.unload, stranger.versions):
            with pytest.raises(InvalidConfig, match="QASIR_TRITON_KEY"):
                forbidden("text_encoder")


def test_versions_are_those_that_are_ready(triton_server: RunningTriton, triton: Triton) -> None:
    for model in (*MODELS, *ENSEMBLES):
        assert triton.versions(model) == [triton_server.version]
    assert triton.versions("unheard-of") == []


def test_a_client_outlives_its_server(triton_server: RunningTriton) -> None:
    with Triton(triton_server.url, deadline=5.0) as client:
        expected = client.encode_video(triton_server.version, pictures(2), padded(2, 2))
        triton_server.kill()
        try:
            assert not client.ready()
            with pytest.raises(ModelUnavailable, match=triton_server.url):
                client.encode_video(triton_server.version, pictures(2), padded(2, 2))
        finally:
            triton_server.restart()
        # gRPC itself tries again within a second of the server's return.
        wait_for(client.ready, seconds=3)
        found = client.encode_video(triton_server.version, pictures(2), padded(2, 2))
    np.testing.assert_allclose(found, expected, atol=TOLERANCE)
