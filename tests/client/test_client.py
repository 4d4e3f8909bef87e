"""The HTTP client against a small real server that answers as the service's contract says."""

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qasir.client import Client, http
from qasir.contract.jobs import Job
from qasir.errors import (
    DecoderCrashed,
    InvalidInput,
    ModelUnavailable,
    NotFound,
    Overloaded,
    QasirError,
    QueryTooLong,
)
from service.processes import free_ports
from tests.support.scripted import (
    JOB,
    MODEL,
    MOMENT,
    RESULTS,
    VIDEO,
    ScriptedServer,
    events,
    problem,
)


@pytest.fixture
def client(server: ScriptedServer) -> Iterator[Client]:
    with Client(server.url) as made:
        yield made


def test_upload_sends_the_file_and_what_is_said_of_it(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "dog.mp4"
    path.write_bytes(b"x" * 200_000)
    server.on("POST /v1/videos", {"video_id": "v1", "job_id": "j1", "state": "queued"}, status=202)
    sent: list[int] = []
    upload = client.upload(path, metadata={"camera": 3}, on_bytes=sent.append)
    assert (upload.video_id, upload.job_id, upload.state) == ("v1", "j1", "queued")
    assert sum(sent) == 200_000
    assert len(sent) > 2
    body = server.requests[0][1]
    assert b'name="video"; filename="dog.mp4"' in body
    assert b"x" * 200_000 in body
    assert b'name="title"' not in body, "the service names a video after its file"
    assert re.search(rb'name="metadata"\r\n\r\n\{"camera": 3\}\r\n', body)


def test_upload_of_nothing_sends_nothing(
    server: ScriptedServer, client: Client, tmp_path: Path
) -> None:
    for path in (tmp_path, tmp_path / "missing.mp4"):
        with pytest.raises(NotFound, match="no file at"):
            client.upload(path)
    assert server.requests == []


def test_wait_follows_a_job_to_its_end(server: ScriptedServer, client: Client) -> None:
    running = {**JOB, "state": "running", "stage": "encode", "progress": 0.5, "eta_seconds": 2.0}
    # The stream breaks off once, as at a service that starts again.
    server.on(
        "GET /v1/jobs/j1/events",
        events({**JOB, "state": "queued"}, running),
        events(running, JOB),
    )
    seen: list[Job] = []
    assert client.wait("j1", seen.append).state == "ready"
    assert [job.state for job in seen] == ["queued", "running", "ready"]
    assert (seen[1].stage, seen[1].progress, seen[1].eta_seconds) == ("encode", 0.5, 2.0)


def test_wait_raises_the_error_of_a_failed_job(server: ScriptedServer, client: Client) -> None:
    error = {"code": "decoder_crashed", "detail": "frame 7", "retryable": False}
    server.on("GET /v1/jobs/j1/events", events({**JOB, "state": "failed", "error": error}))
    with pytest.raises(DecoderCrashed, match="frame 7"):
        client.wait("j1")


def test_wait_ends(server: ScriptedServer, client: Client) -> None:
    server.on("GET /v1/jobs/j1/events", events({**JOB, "state": "running"}))
    with pytest.raises(ModelUnavailable, match=r"is running after 0\.1 s"):
        client.wait("j1", timeout=0.1)


def test_what_may_be_sent_twice_waits_for_a_busy_service(
    server: ScriptedServer, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "FIRST_PAUSE_SECONDS", 0.01)
    busy = problem("overloaded", "64 searches wait")
    server.scripts["POST /v1/search"] = [(429, busy), (503, busy), (200, RESULTS)]
    assert client.search("a dog").results
    assert len(server.requests) == 3
    server.scripts["POST /v1/search"] = [(429, busy)]
    with pytest.raises(Overloaded, match="64 searches wait"):
        client.search("a dog")
    assert len(server.requests) == 3 + http.TRIES
    server.scripts["POST /v1/jobs/j1/retry"] = [(429, busy), (202, JOB)]
    with pytest.raises(Overloaded):
        client.retry("j1")


def test_retry_after_is_obeyed(server: ScriptedServer, client: Client) -> None:
    busy = problem("overloaded", "64 searches wait")
    server.scripts["POST /v1/search"] = [(429, busy), (200, RESULTS)]
    server.headers["Retry-After"] = "1"
    begin = time.monotonic()
    client.search("a dog")
    assert 1.0 <= time.monotonic() - begin < 2.0


def test_search_reads_results_and_passes_options(server: ScriptedServer, client: Client) -> None:
    server.on("POST /v1/search", RESULTS)
    found = client.search("a dog", 3, mode="fast")
    assert json.loads(server.requests[0][1]) == {"query": "a dog", "top_k": 3, "mode": "fast"}
    (result,) = found.results
    assert (result.video.title, result.moments[0].end) == ("dog.mp4", 2.5)
    assert (found.searched.video_count, found.snapshot) == (1, "s1")


def test_the_library(server: ScriptedServer, client: Client) -> None:
    server.on("GET /v1/videos", {"videos": [VIDEO], "total_count": 9, "next_page_token": "t2"})
    server.on("GET /v1/videos/v1", {**VIDEO, "job": JOB})
    server.on("DELETE /v1/videos/v1", "", status=204)
    server.on("GET /v1/jobs", {"jobs": [JOB]})
    page = client.videos(limit=1, page_token="t1")
    assert (page.total_count, page.next_page_token) == (9, "t2")
    assert page.videos[0].metadata == {"camera": 3}
    assert server.requests[0][0] == "GET /v1/videos?limit=1&page_token=t1"
    detail = client.video("v1")
    assert (detail.id, detail.metadata, detail.job.id) == ("v1", {"camera": 3}, "j1")
    client.delete("v1")
    assert server.requests[-1][0] == "DELETE /v1/videos/v1"
    assert [job.id for job in client.jobs().jobs] == ["j1"]


def test_models_are_built_activated_and_retired(server: ScriptedServer, client: Client) -> None:
    server.on("GET /v1/models", {"models": [MODEL]})
    server.on("POST /v1/models/2/build", MODEL, status=202)
    server.on("POST /v1/models/2/activate", {**MODEL, "state": "active"})
    server.on("POST /v1/models/2/retire", {**MODEL, "state": "stored"})
    assert client.models()[0].coverage.video_count == 3
    model = client.build(2, activate=True)
    assert (model.version, model.state, model.coverage.embedded_count) == (2, "building", 1)
    reranker = {"version": 1, "grid_size": 1, "k": 9}
    assert client.activate(2, max_missing=1, reranker=reranker).state == "active"
    assert client.retire(2).state == "stored"
    assert [request for request, _ in server.requests] == [
        "GET /v1/models",
        "POST /v1/models/2/build",
        "POST /v1/models/2/activate",
        "POST /v1/models/2/retire",
    ]
    assert json.loads(server.requests[1][1]) == {"activate": True}
    assert json.loads(server.requests[2][1]) == {"max_missing": 1, "reranker": reranker}


def test_a_bad_argument_is_not_sent(server: ScriptedServer, client: Client) -> None:
    with pytest.raises(InvalidInput, match=r"mood: Extra inputs .* see SearchRequest"):
        client.search("a dog", mood="fast")
    with pytest.raises(InvalidInput, match="mode: Input should be 'fast'"):
        client.search("a dog", mode="slow")
    assert server.requests == []


def test_attention_is_asked_as_a_search(server: ScriptedServer, client: Client) -> None:
    frames = {"starts": [0.0, 1.0], "ends": [1.0, 2.0], "weights": [0.25, 0.75]}
    attention = {
        "video_id": "v1",
        "grid_size": 2,
        "super_image_count": 1,
        "moments": [MOMENT],
        **frames,
    }
    server.on("POST /v1/videos/v1/attention", attention)
    found = client.attention("v1", "a dog", example={"image": b"picture"})
    assert json.loads(server.requests[0][1]) == {
        "query": "a dog",
        "example": {"image": "cGljdHVyZQ=="},
    }
    assert (found.weights, found.moments[0].end) == ([0.25, 0.75], 2.5)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("query_too_long", QueryTooLong),
        ("overloaded", Overloaded),
        ("of_a_newer_service", QasirError),
    ],
)
def test_a_problem_is_the_error_of_its_code(
    server: ScriptedServer, client: Client, code: str, kind: type[QasirError]
) -> None:
    server.on("POST /v1/search", problem(code, "600 characters, the limit is 500"), status=422)
    with pytest.raises(kind, match="the limit is 500") as caught:
        client.search("long")
    assert type(caught.value) is kind


def test_an_answer_of_somebody_else_is_named(server: ScriptedServer, client: Client) -> None:
    server.on("GET /v1/videos/v1", "<html>proxy</html>", status=502)
    with pytest.raises(QasirError, match="answered 502: <html>proxy"):
        client.video("v1")
    server.on("GET /v1/videos/v1", {"id": "v1"})
    with pytest.raises(QasirError, match="use the same version"):
        client.video("v1")


@pytest.mark.parametrize(
    "url",
    [
        "http://ada:secret@127.0.0.1:{}",
        "http://ada:se@cret@127.0.0.1:{}",
        "http://secret@127.0.0.1:{}",
    ],
)
def test_no_error_shows_a_password(server: ScriptedServer, url: str) -> None:
    server.on("GET /v1/videos/v1", "<html>proxy</html>", status=502)
    server.on("GET /v1/videos/v2", {"id": "v2"})
    port, (silent,) = server.url.rpartition(":")[2], free_ports(1)
    with Client(url.format(port)) as client, Client(url.format(silent)) as alone:
        for ask in (lambda: client.video("v1"), lambda: client.video("v2"), alone.videos):
            with pytest.raises(QasirError, match=r"127\.0\.0\.1") as caught:
                ask()
            assert "cret" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["ftp://ada:secret@host", "ada:secret@host:3000", "http://a:se/cret@h"]
)
def test_the_error_of_a_bad_url_shows_no_password(url: str) -> None:
    with pytest.raises(InvalidInput, match="not the URL of a service") as caught:
        Client(url)
    assert "cret" not in str(caught.value)


def test_no_service_is_said_with_the_next_step() -> None:
    (port,) = free_ports(1)
    with (
        Client(f"http://127.0.0.1:{port}") as client,
        pytest.raises(ModelUnavailable, match=f"no answer .*{port}.*qasir up"),
    ):
        client.search("a dog")
