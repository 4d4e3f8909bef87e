"""Spans of a real stack, as a collector gets them: one tree for what belongs together."""

import json
import socket
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from qasir.errors import InvalidConfig
from qasir.text import Tokens
from qasir.triton import Triton
from qasir.v1 import retrieval_pb2 as pb
from qasir.v1.retrieval_pb2_grpc import RetrievalServiceStub
from service.grpc.interceptors import SERVICE
from service.models.store import ModelStore
from service.observability.tracing import (
    SEND_SECONDS,
    close_tracing,
    configure_tracing,
    span,
    trace_id,
    traceparent,
    triton_call,
)
from service.settings import Settings, TraceSettings, load_settings
from service.stack.control import processes
from tests.support.collector import Collector, Sent, running_collector
from tests.support.retrieval import refused
from tests.support.triton import stack_settings
from tests.support.videos import write_painted
from tests.support.waiting import wait_for

pytestmark = pytest.mark.stack

CALLER = "b7ad6b7169203331"
SECRET = "a zebra that nobody may read of"


@dataclass(frozen=True)
class TracedStack:
    """Triton, worker and service that send their spans to a collector."""

    settings: Settings
    collector: Collector
    http: httpx.Client
    video: Path

    def tree(self, trace: str, count: int) -> dict[str, list[str]]:
        """Names of children by name of parent, once so many spans and all their parents are here.

        They come in batches, from three processes; Triton sends one every five seconds.
        """

        def grown() -> dict[str, list[str]] | None:
            spans = self.collector.of(trace)
            names = {span.id: span.name for span in spans} | {CALLER: "caller", "": "nobody"}
            if len(spans) < count or not {span.parent for span in spans} <= names.keys():
                return None
            children: dict[str, list[str]] = {}
            for one in sorted(spans, key=lambda span: span.name):
                children.setdefault(names[one.parent], []).append(one.name)
            return children

        found: dict[str, list[str]] = wait_for(grown, seconds=60)
        return found

    def span(self, trace: str, name: str) -> Sent:
        (found,) = [span for span in self.collector.of(trace) if span.name == name]
        return found


def calling(trace: str) -> dict[str, str]:
    """What a caller sends who has begun a trace."""
    return {"traceparent": f"00-{trace}-{CALLER}-01"}


@pytest.fixture
def trace() -> str:
    """A trace that a caller has begun."""
    return uuid.uuid4().hex


@pytest.fixture(scope="module")
def traced_stack(
    tiny_export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[TracedStack]:
    folder = tmp_path_factory.mktemp("traced")
    with ExitStack() as stack:
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "200")
        collector = stack.enter_context(running_collector())
        changed = {"otlp_endpoint": collector.url, "workers": 1, "canary_seconds": 0.0}
        settings = stack_settings(folder / "state").model_copy(update=changed)
        store = ModelStore(settings.state)
        store.activate(store.add(tiny_export))
        started = processes(settings)
        for process in started:
            stack.callback(process.stop)
            process.start()
        for process in started:
            process.wait()
        url = f"http://{settings.host}:{settings.http_port}"
        http = stack.enter_context(httpx.Client(base_url=url, timeout=30))
        video = write_painted(folder / "holiday with the smiths.mp4", 9, fps=1)
        yield TracedStack(settings, collector, http, video)


@pytest.fixture(scope="module")
def upload_trace(traced_stack: TracedStack) -> str:
    """The trace of an upload whose job is done."""
    with traced_stack.video.open("rb") as file:
        files = {"video": (traced_stack.video.name, file)}
        accepted = traced_stack.http.post("/v1/videos", files=files).json()
    job = f"/v1/jobs/{accepted['job_id']}"
    wait_for(lambda: traced_stack.http.get(job).json()["state"] == "ready")

    def trace_of(name: str) -> str | None:
        return next((s.trace for s in list(traced_stack.collector.spans) if s.name == name), None)

    wait_for(lambda: trace_of("ingest"))
    trace: str = wait_for(lambda: trace_of("upload_video"))
    return trace


def test_a_search_is_one_tree_down_into_triton(
    traced_stack: TracedStack, upload_trace: str, trace: str
) -> None:
    asked = {"query": f"{SECRET} first"}
    answer = traced_stack.http.post("/v1/search", json=asked, headers=calling(trace))
    assert answer.status_code == 200
    tree = traced_stack.tree(trace, count=14)
    assert tree["caller"] == ["search"]
    assert tree["search"] == ["encode", "hydrate", "recall", "score", "tokenise"]
    assert tree["encode"] == ["triton text_encoder"]
    assert tree["score"] == ["triton attention_scorer"]
    assert tree["triton text_encoder"] == ["InferRequest"]
    assert sorted(tree["InferRequest"]) == ["attention_scorer", "text_encoder"]
    services = {span.service for span in traced_stack.collector.of(trace)}
    assert services == {"qasir-service", "qasir-triton"}
    search = traced_stack.span(trace, "search")
    assert search.attributes["qasir.status"] == 200
    assert search.attributes["http.request.method"] == "POST"
    assert search.attributes["http.route"] == "/v1/search"
    assert search.attributes["http.response.status_code"] == 200
    call = traced_stack.span(trace, "triton attention_scorer").attributes
    assert (call["rpc.system"], call["rpc.method"]) == ("grpc", "ModelInfer")
    parts = [s.seconds for s in traced_stack.collector.of(trace) if s.parent == search.id]
    assert 0 < sum(parts) <= search.seconds


def test_an_ingest_goes_on_with_the_trace_of_its_upload(
    traced_stack: TracedStack, upload_trace: str
) -> None:
    tree = traced_stack.tree(upload_trace, count=12)
    assert tree["nobody"] == ["upload_video"]
    assert tree["upload_video"] == ["ingest"]
    assert tree["ingest"] == ["commit", "decode", "encode"]
    assert tree["encode"] == ["triton encode_video_v1"]
    assert tree["triton encode_video_v1"] == ["InferRequest"]
    assert tree["InferRequest"] == ["encode_video_v1"]
    assert tree["encode_video_v1"] == ["super_image_encoder", "temporal_encoder"]
    decode = traced_stack.span(upload_trace, "decode")
    assert decode.service == "qasir-worker"
    assert decode.attributes["qasir.frames"] == 9
    assert traced_stack.span(upload_trace, "ingest").attributes["qasir.outcome"] == "ready"


def test_a_grpc_call_goes_on_with_its_callers_trace(
    traced_stack: TracedStack, upload_trace: str, trace: str
) -> None:
    metadata = [*calling(trace).items(), ("x-request-id", "mine-1")]
    with grpc.insecure_channel(f"127.0.0.1:{traced_stack.settings.grpc_port}") as channel:
        stub = RetrievalServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
        stub.Search(pb.SearchRequest(query=f"{SECRET} by gRPC"), metadata=metadata, timeout=20)
        request = pb.GetVideoRequest(video_id="v0")
        refusal = refused(lambda: stub.GetVideo(request, metadata=metadata, timeout=20))
    tree = traced_stack.tree(trace, count=15)
    assert tree["caller"] == ["get_video", "search"]
    assert "recall" in tree["search"]
    assert sorted(tree["InferRequest"]) == ["attention_scorer", "text_encoder"]
    assert refusal.metadata["qasir-trace-id"] == trace
    refused_call = traced_stack.span(trace, "get_video").attributes
    assert refused_call["rpc.service"] == SERVICE
    assert refused_call["rpc.method"] == "GetVideo"
    assert refused_call["rpc.grpc.status_code"] == grpc.StatusCode.NOT_FOUND.value[0]
    assert refused_call["error.type"] == "not_found"
    assert {"mine-1"} == {line["request_id"] for line in lines(traced_stack) if is_of(line, trace)}


def test_spans_whose_trace_triton_does_not_see_name_it_all_the_same(
    traced_stack: TracedStack, trace: str
) -> None:
    """One byte behind the header, as Triton finds it there by chance, makes it a wrong one."""
    headers = {"traceparent": f"{calling(trace)['traceparent']}-"}
    ones = np.ones((1, 16), np.int64)
    with Triton(
        traced_stack.settings.triton_url, call_context=lambda _: nullcontext(headers)
    ) as triton:
        triton.encode_text(1, Tokens(ones, ones))
    tree = traced_stack.tree(trace, count=3)
    assert tree == {
        "caller": ["InferRequest"],
        "InferRequest": ["text_encoder"],
        "text_encoder": ["compute"],
    }
    assert trace not in {span.trace for span in traced_stack.collector.spans}


def test_an_error_names_its_trace(traced_stack: TracedStack, trace: str) -> None:
    problem = traced_stack.http.get("/v1/videos/v0", headers=calling(trace)).json()
    assert (problem["code"], problem["trace_id"]) == ("not_found", trace)


def test_bentomls_own_routes_are_traced_alike(
    traced_stack: TracedStack, upload_trace: str, trace: str
) -> None:
    asked = {"query": f"{SECRET} by BentoML"}
    traced_stack.http.post("/search", json=asked, headers=calling(trace))
    tree = traced_stack.tree(trace, count=14)
    assert tree["caller"] == ["search"]
    assert sorted(tree["InferRequest"]) == ["attention_scorer", "text_encoder"]


def test_logs_are_json_and_tell_nothing_of_a_user(
    traced_stack: TracedStack, upload_trace: str, trace: str
) -> None:
    traced_stack.http.post("/v1/search", json={"query": SECRET}, headers=calling(trace))
    run = traced_stack.settings.folders.run
    for name in ("service", "worker"):
        text = (run / f"{name}.log").read_text()
        assert "zebra" not in text
        assert "smith" not in text
        assert {line["process"] for line in lines(traced_stack, name)} == {name}
    (job,) = [line for line in lines(traced_stack, "worker") if line["event"] == "job"]
    assert (job["operation"], job["outcome"], job["trace_id"]) == ("ingest", "ready", upload_trace)
    assert job["milliseconds"] > 0
    # A request is logged once its answer is on its way.
    request = wait_for(lambda: [line for line in lines(traced_stack) if is_of(line, trace)])[-1]
    assert request["event"] == "request"
    assert (request["operation"], request["status"], request["code"]) == ("search", 200, "ok")


def test_no_span_tells_what_was_searched(
    traced_stack: TracedStack, upload_trace: str, trace: str
) -> None:
    traced_stack.http.post("/v1/search", json={"query": SECRET}, headers=calling(trace))
    wait_for(lambda: traced_stack.collector.of(trace))
    for one in list(traced_stack.collector.spans):
        assert "zebra" not in repr(one)
        assert "smith" not in repr(one)


def test_off_is_off_and_costs_next_to_nothing() -> None:
    with span("recall"), triton_call("text_encoder") as headers:
        assert (dict(headers), trace_id(), traceparent()) == ({}, None, None)
    begin = time.perf_counter()
    for _ in range(10_000):
        with span("recall"):
            pass
    # A search has about ten; a microsecond each is what is expected, fifty a broken promise.
    assert (time.perf_counter() - begin) / 10_000 < 50e-6


def test_a_collector_that_hangs_holds_no_process_up() -> None:
    """It takes connections, and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as hung:
        url = f"http://127.0.0.1:{hung.getsockname()[1]}"
        configure_tracing(TraceSettings(otlp_endpoint=url), "test")
        with span("recall"):
            assert trace_id() is not None
        begin = time.monotonic()
        close_tracing()
        assert time.monotonic() - begin < SEND_SECONDS + 1
    assert trace_id() is None


@pytest.mark.parametrize("wrong", ["127.0.0.1:4318", "grpc://host:4317", "http://", "yes"])
def test_an_endpoint_that_is_none_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", wrong)
    with pytest.raises(InvalidConfig, match=r"OTEL_EXPORTER_OTLP_ENDPOINT.*http://127.0.0.1:4318"):
        load_settings()


@pytest.mark.parametrize("endpoint", ["http://h:4318", "http://h:4318/", "http://h:4318/otlp"])
def test_spans_go_to_the_traces_path_of_the_endpoint(
    endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the specification says of OTEL_EXPORTER_OTLP_ENDPOINT."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    assert load_settings().traces_url == f"{endpoint.rstrip('/')}/v1/traces"
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    assert load_settings().traces_url is None


def test_a_child_process_gets_the_same_endpoint() -> None:
    settings = Settings(otlp_endpoint="http://h:4318", workers=5)
    assert settings.environment() == {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://h:4318",
        "QASIR_WORKERS": "5",
    }


def lines(stack: TracedStack, process: str = "service") -> list[dict[str, Any]]:
    text = (stack.settings.folders.run / f"{process}.log").read_text()
    # The last line may be in the middle of being written.
    return [json.loads(line) for line in text.split("\n")[:-1]]


def is_of(line: dict[str, Any], trace: str) -> bool:
    return line.get("trace_id") == trace
