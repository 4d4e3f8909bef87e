"""The gRPC transport: as HTTP on the running stack, and against a server that misbehaves."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest

from qasir import Client
from qasir.client.grpc import SERVICE
from qasir.client.operations import OPERATIONS
from qasir.contract.jobs import Job
from qasir.errors import (
    Conflict,
    InvalidInput,
    ModelUnavailable,
    NotFound,
    Overloaded,
    QasirError,
    QueryTooLong,
    UnsupportedMedia,
    UploadTooLarge,
)
from qasir.v1 import retrieval_pb2 as pb
from qasir.v1.retrieval_pb2_grpc import (
    RetrievalServiceServicer,
    add_RetrievalServiceServicer_to_server,
)
from service.processes import free_ports
from tests.support.service import MAX_UPLOAD_BYTES, RunningService
from tests.support.waiting import wait_for

CREATED = datetime(2026, 1, 2, tzinfo=UTC)
BUSY = grpc.StatusCode.RESOURCE_EXHAUSTED


@pytest.fixture
def client(running_service: RunningService) -> Iterator[Client]:
    with Client(f"grpc://127.0.0.1:{running_service.settings.grpc_port}") as made:
        yield made


@pytest.fixture
def by_http(running_service: RunningService) -> Iterator[Client]:
    with Client(f"http://127.0.0.1:{running_service.settings.http_port}") as made:
        yield made


def test_every_operation_is_a_method_of_the_service() -> None:
    methods = {method.name for method in SERVICE.methods}
    assert {operation.name for operation in OPERATIONS} == methods - {"UploadVideo", "WatchJob"}


def test_a_video_from_upload_to_delete(
    running_service: RunningService, client: Client, by_http: Client
) -> None:
    """Every call answers as over HTTP, in the same types."""
    path, sent, seen = running_service.new_video(60), list[int](), list[Job]()
    upload = client.upload(path, "By the sea", {"camera": 3}, sent.append)
    assert sum(sent) == path.stat().st_size
    job = client.wait(upload.job_id, seen.append)
    assert (job.state, seen[-1]) == ("ready", job)
    assert client.job(upload.job_id) == by_http.job(upload.job_id) == job
    assert client.jobs(limit=3) == by_http.jobs(limit=3)
    assert client.videos(limit=3) == by_http.videos(limit=3)
    video = client.video(upload.video_id)
    assert video == by_http.video(upload.video_id)
    assert (video.title, video.metadata, video.job) == ("By the sea", {"camera": 3}, job)
    found, other = (each.search("a red ball", 3, mode="fast") for each in (client, by_http))
    assert found.searched == other.searched
    assert [hit.video for hit in found.results] == [hit.video for hit in other.results]
    assert [hit.moments for hit in found.results] == [hit.moments for hit in other.results]
    client.delete(upload.video_id)
    with pytest.raises(NotFound, match="no video"):
        client.video(upload.video_id)


def test_examples_and_filters(running_service: RunningService, client: Client) -> None:
    path = running_service.new_video(20)
    upload = client.upload(path, metadata={"camera": 7, "place": {"name": "sea"}})
    client.wait(upload.job_id)
    example = {"video_id": upload.video_id, "start": 0, "end": 4}
    selected = {"metadata": {"camera": {"gte": 7}}, "duration": {"gt": 19.5}}
    found = client.search(None, example=example, filter=selected, mode="fast", context_seconds=1)
    assert [hit.video.id for hit in found.results] == [upload.video_id]
    assert client.search("a dog", filter={"metadata": {"camera": 8}}).results == []


def test_models(client: Client, by_http: Client) -> None:
    assert client.models() == by_http.models()
    # Other tests build more of them in the same stack.
    (model,) = [each for each in client.models() if each.state == "active"]
    assert (model.version, model.grid_sizes) == (1, [2])
    assert model.coverage.video_count >= model.coverage.embedded_count
    assert client.model(1) == by_http.model(1) == model
    again = client.activate(1, max_missing=1000)
    assert (again.version, again.state) == (1, "active")
    for refused in (client.activate, client.build, client.retire):
        with pytest.raises(NotFound):
            refused(99)
    for each in (client, by_http):
        assert each.build(1) == model
        with pytest.raises(Conflict, match="serves searches"):
            each.retire(1)


def test_attention(running_service: RunningService, client: Client, by_http: Client) -> None:
    video_id = running_service.ingested(12)
    found = client.attention(video_id, "a red ball", grid_size=2)
    assert (found.video_id, found.grid_size, len(found.starts)) == (video_id, 2, len(found.ends))
    assert sum(found.weights) == pytest.approx(1, abs=1e-4)
    other = by_http.attention(video_id, "a red ball", grid_size=2)
    assert (found.starts, found.super_image_count) == (other.starts, other.super_image_count)
    np.testing.assert_allclose(found.weights, other.weights, atol=1e-4)


def test_a_process_that_is_killed_is_not_noticed(
    running_service: RunningService, client: Client
) -> None:
    """Its connection moves to the other process, or to the one that takes its place."""
    client.search("a dog")
    port = running_service.settings.grpc_port

    def listeners(status: str) -> set[int]:
        return {
            member.pid
            for member in running_service.service.members()
            for connection in member.net_connections(kind="tcp")
            if connection.status == status and connection.laddr.port == port
        }

    (connected,) = listeners(psutil.CONN_ESTABLISHED)
    psutil.Process(connected).kill()
    assert client.search("a cat").searched.video_count >= 0
    wait_for(lambda: len(listeners(psutil.CONN_LISTEN) - {connected}) == 2)


def test_embeddings(client: Client, by_http: Client) -> None:
    found = client.embed(["a dog", "a red ball"])
    other = by_http.embed(["a dog", "a red ball"])
    assert (found.dim, found.fingerprint) == (other.dim, other.fingerprint)
    np.testing.assert_allclose(found.vectors, other.vectors, atol=1e-6)
    assert found.dim == len(found.vectors[0]) == 32
    assert sum(x * x for x in found.vectors[1]) == pytest.approx(1, abs=1e-4)


def test_errors_are_those_of_the_service(
    running_service: RunningService, client: Client, tmp_path: Path
) -> None:
    path = tmp_path / "words.mp4"
    path.write_text(f"a dog runs on the beach {running_service.new_video()}")
    upload = client.upload(path)
    with pytest.raises(UnsupportedMedia):
        client.wait(upload.job_id)
    again = client.retry(upload.job_id)
    assert (again.video_id, again.id != upload.job_id) == (upload.video_id, True)
    with pytest.raises(QueryTooLong, match="limit is 500"):
        client.search("x" * 501)
    huge = tmp_path / "huge.mp4"
    huge.write_bytes(bytes(MAX_UPLOAD_BYTES + 1))
    with pytest.raises(UploadTooLarge):
        client.upload(huge)


def test_the_url_names_host_and_port() -> None:
    for url, full in (("grpc://host", "grpc://host:50051"), ("grpc://[::1]:7", "grpc://[::1]:7")):
        with Client(url) as client:
            assert client.url == full
    with pytest.raises(InvalidInput, match="not the URL of a service") as caught:
        Client("grpc://ada:secret@host")
    assert "secret" not in str(caught.value)


def test_upload_of_nothing_asks_nobody(tmp_path: Path) -> None:
    with Client("grpc://127.0.0.1:1") as client:
        for path in (tmp_path, tmp_path / "missing.mp4"):
            with pytest.raises(NotFound, match="no file at"):
                client.upload(path)


def test_bad_arguments_are_named() -> None:
    with Client("grpc://127.0.0.1:1") as client:
        with pytest.raises(InvalidInput, match=r"words.*SearchRequest"):
            client.search(example={"words": "a dog"})
        with pytest.raises(InvalidInput, match=r"reranker\.version.*ActivateModelRequest"):
            client.activate(1, reranker={"version": 0, "grid_size": 1})
        with pytest.raises(InvalidInput, match=r"out of range.*GetModelRequest"):
            client.model(1 << 40)


def test_no_service_is_said_with_the_next_step() -> None:
    (port,) = free_ports(1)
    with (
        Client(f"grpc://127.0.0.1:{port}") as client,
        pytest.raises(ModelUnavailable, match=f"no answer .*{port}.*qasir up"),
    ):
        client.search("a dog")


@dataclass
class Scripted(RetrievalServiceServicer):
    """Answers of a service that is busy, starts again, or is newer."""

    script: list[Callable[[Any], Any]]
    deadlines: list[float] = field(default_factory=list)

    def _next(self, context: Any) -> Any:
        self.deadlines.append(context.time_remaining())
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        return step(context)

    def Search(self, _: Any, context: Any) -> Any:
        return self._next(context)

    def RetryJob(self, _: Any, context: Any) -> Any:
        return self._next(context)

    def WatchJob(self, _: Any, context: Any) -> Any:
        yield from self._next(context)


def fails(status: grpc.StatusCode, detail: str, **trailing: str) -> Callable[[Any], Any]:
    metadata = tuple((key.replace("_", "-"), value) for key, value in trailing.items())

    def step(context: Any) -> Any:
        context.set_trailing_metadata(metadata)
        context.abort(status, detail)

    return step


@pytest.fixture
def scripted() -> Iterator[Callable[..., tuple[Client, Scripted]]]:
    opened: list[Any] = []

    def open_with(*script: Callable[[Any], Any], **options: Any) -> tuple[Client, Scripted]:
        servicer = Scripted(list(script))
        server = grpc.server(futures.ThreadPoolExecutor(4))
        add_RetrievalServiceServicer_to_server(servicer, server)  # type: ignore[no-untyped-call]
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        client = Client(f"grpc://127.0.0.1:{port}", **options)
        opened.extend([client.close, lambda: server.stop(0).wait()])
        return client, servicer

    yield open_with
    for close in opened:
        close()


Open = Callable[..., tuple[Client, Scripted]]
FOUND = pb.SearchResponse(
    searched=pb.Searched(video_count=7), snapshot="s", mode="fast", grid_size=2
)


def changed(**fields: Any) -> pb.WatchJobResponse:
    """Return a change of a job."""
    job = pb.Job(id="j", video_id="v", create_time=CREATED, **fields)
    return pb.WatchJobResponse(job=job)


def test_a_busy_service_is_asked_again_when_it_says(scripted: Open) -> None:
    trailing = {"qasir_code": "overloaded", "grpc_retry_pushback_ms": "400"}
    client, servicer = scripted(fails(BUSY, "full", **trailing), lambda _: FOUND, timeout=9.0)
    begin = time.monotonic()
    assert client.search("a dog").searched.video_count == 7
    assert 0.4 <= time.monotonic() - begin < 3
    assert servicer.deadlines[1] < servicer.deadlines[0] < 9.1


def test_in_the_end_its_error_is_raised(scripted: Open) -> None:
    trailing = {"qasir_code": "overloaded", "grpc_retry_pushback_ms": "10"}
    client, servicer = scripted(fails(BUSY, "4 searches under way", **trailing))
    with pytest.raises(Overloaded, match="4 searches under way"):
        client.search("a dog")
    assert len(servicer.deadlines) == 4


@pytest.mark.parametrize("call", ["search", "retry"])
def test_what_cannot_help_or_would_count_twice_is_asked_once(scripted: Open, call: str) -> None:
    pushback = {"grpc_retry_pushback_ms": "-1"} if call == "search" else {}
    trailing = {"qasir_code": "upload_too_large", **pushback}
    client, servicer = scripted(fails(BUSY, "too much", **trailing))
    with pytest.raises(UploadTooLarge):
        getattr(client, call)("x")
    assert len(servicer.deadlines) == 1


def test_wait_goes_on_where_a_stream_broke_off(scripted: Open) -> None:
    running = changed(state="running", stage="encode", progress=0.5)
    ready = changed(state="ready", progress=1)

    def breaks(context: Any) -> Iterator[Any]:
        yield running
        context.abort(grpc.StatusCode.UNAVAILABLE, "going away")

    client, _ = scripted(breaks, lambda _: iter([running]), lambda _: iter([running, ready]))
    seen: list[Job] = []
    assert client.wait("j", seen.append).state == "ready"
    assert [job.state for job in seen] == ["running", "ready"], "each change once"
    assert (seen[0].stage, seen[0].progress, seen[0].eta_seconds) == ("encode", 0.5, None)


def test_wait_ends(scripted: Open) -> None:
    stop = threading.Event()

    def stays(_: Any) -> Iterator[Any]:
        yield changed(state="running")
        stop.wait(5)

    client, _ = scripted(stays)
    with pytest.raises(ModelUnavailable, match=r"is running after 0\.3 s"):
        client.wait("j", timeout=0.3)
    stop.set()


def test_codes_and_statuses_of_others(scripted: Open) -> None:
    newer = fails(grpc.StatusCode.ABORTED, "new trouble", qasir_code="of_a_newer_service")
    client, _ = scripted(newer)
    with pytest.raises(QasirError, match="new trouble") as caught:
        client.search("a dog")
    assert type(caught.value) is QasirError
    with pytest.raises(QasirError, match="UNIMPLEMENTED"):
        client.job("j")
    full, _ = scripted(fails(BUSY, "Concurrent RPC limit exceeded!"))
    with pytest.raises(Overloaded, match="try again"):
        full.search("a dog")
    stop = threading.Event()
    slow, _ = scripted(lambda _: stop.wait(5), timeout=0.1)
    with pytest.raises(ModelUnavailable, match="in time"):
        slow.search("a dog")
    stop.set()
