"""The gRPC server: health, reflection, bounds, deadlines, counts, and how it stops."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import anyio
import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from qasir.errors import Conflict
from qasir.v1 import retrieval_pb2 as pb
from qasir.v1.retrieval_pb2_grpc import RetrievalServiceStub
from service.app import AppState, open_service
from service.grpc.interceptors import operation_of
from service.grpc.server import GrpcServer
from service.http.app import create_app
from service.http.context import open_context
from service.observability.metrics import OPERATIONS
from service.processes import free_ports
from service.settings import Settings
from tests.support.retrieval import outcome, serve
from tests.support.service import RunningService
from tests.support.triton import RunningTriton
from tests.support.waiting import wait_for

SERVICE = "qasir.v1.RetrievalService"
SERVING = health_pb2.HealthCheckResponse.SERVING
CHUNK = pb.UploadVideoRequest(chunk=b"x")


def test_reflection_says_what_there_is(running_service: RunningService) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{running_service.settings.grpc_port}") as channel:
        described = ProtoReflectionDescriptorDatabase(channel)
        assert {SERVICE, "grpc.health.v1.Health"} <= set(described.get_services())
        file = described.FindFileContainingSymbol(SERVICE)
    assert file.SerializeToString() == pb.DESCRIPTOR.serialized_pb


def test_health_follows_readiness(
    running_service: RunningService, triton_server: RunningTriton
) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{running_service.settings.grpc_port}") as channel:
        stub: Any = HealthStub(channel)

        def serving(name: str) -> bool:
            return bool(stub.Check(health_pb2.HealthCheckRequest(service=name)).status == SERVING)

        # A test before this one may have had Triton start again.
        wait_for(lambda: serving("") and serving(SERVICE))
        with triton_server.paused():
            wait_for(lambda: not serving("") and not serving(SERVICE))
        wait_for(lambda: serving("") and serving(SERVICE))


def test_every_process_listens(running_service: RunningService) -> None:
    assert len(running_service.listeners()) == running_service.settings.workers == 2


def test_a_taken_port_is_named(core: AppState) -> None:
    async def run() -> None:
        await GrpcServer(open_context(core)).start()

    async def hold() -> None:
        server = await asyncio.start_server(
            lambda *_: None, "127.0.0.1", core.settings.grpc_port, reuse_port=False
        )
        async with server:
            with pytest.raises(Conflict, match="QASIR_GRPC_PORT"):
                await run()

    anyio.run(hold)


def test_a_second_service_may_not_join_in(running_service: RunningService) -> None:
    """Processes that share a port would share each other's callers."""
    (http_port,) = free_ports(1)
    environment = {**os.environ, **running_service.service.variables}
    second = subprocess.run(
        running_service.service.command,
        env={**environment, "QASIR_HTTP_PORT": str(http_port)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 2
    assert "set QASIR_GRPC_PORT" in second.stderr


def test_the_callers_deadline_reaches_triton(core: AppState, triton_server: RunningTriton) -> None:
    """Its search gives up the only place in time for the next one."""
    context = open_context(core)

    async def ask(stub: Any) -> tuple[Any, Any]:
        with triton_server.paused():
            begin = time.perf_counter()
            first = await outcome(stub.Search(pb.SearchRequest(query="one"), timeout=0.5))
            assert time.perf_counter() - begin < 1
        # One runs and one may wait: what did not give up would leave no room for two.
        give_up = time.perf_counter() + 5
        while True:
            asked = [stub.Search(pb.SearchRequest(query=text)) for text in ("two", "three")]
            rest = [each[0] for each in await asyncio.gather(*map(outcome, asked))]
            if rest == ["OK", "OK"] or time.perf_counter() > give_up:
                return first, rest

    first, rest = serve(context, ask)
    assert first[0] == "DEADLINE_EXCEEDED"
    assert rest == ["OK", "OK"]


async def heard_until_here(stub: Any) -> None:
    """Wait until the server has begun what was sent before: it begins calls in their order."""
    for _ in range(3):
        await outcome(stub.GetJob(pb.GetJobRequest(job_id="j0")))


def test_a_caller_that_goes_away_keeps_its_place_until_its_search_ends(
    core: AppState, triton_server: RunningTriton
) -> None:
    context = open_context(core)

    async def ask(stub: Any) -> list[Any]:
        with triton_server.paused():
            for text in ("gone", "too"):
                call = stub.Search(pb.SearchRequest(query=text), timeout=10)
                await heard_until_here(stub)
                call.cancel()
            await heard_until_here(stub)
            texts = ("three", "four")
            calls = [stub.Search(pb.SearchRequest(query=text), timeout=2) for text in texts]
            return await asyncio.gather(*map(outcome, calls))

    # The first still runs; the second left the line, which has room for one.
    statuses = sorted(each[0] for each in serve(context, ask))
    assert statuses == ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"]


def test_overload_is_told_when_to_come_again(core: AppState) -> None:
    async def ask(stub: Any) -> list[Any]:
        calls = [stub.Search(pb.SearchRequest(query=f"dog {n}")) for n in range(12)]
        return await asyncio.gather(*map(outcome, calls))

    outcomes = serve(open_context(core), ask)
    assert {status for status, _, _ in outcomes} == {"OK", "RESOURCE_EXHAUSTED"}
    for _, code, told in outcomes:
        if code != "ok":
            assert (code, told["retry-after"], told["grpc-retry-pushback-ms"]) == (
                "overloaded",
                "1",
                "1000",
            )


def test_calls_under_way_are_bounded_with_those_of_http(limited: Settings) -> None:
    core = open_service(limited.model_copy(update={"max_requests": 2}))
    context = open_context(core)

    async def ask(stub: Any) -> list[Any]:
        with context.requests.acquire(), context.requests.acquire():
            refused = await outcome(stub.GetJob(pb.GetJobRequest(job_id="j0")))
        return [refused, await outcome(stub.GetJob(pb.GetJobRequest(job_id="j0")))]

    (_, first, _), (_, second, _) = serve(context, ask)
    core.close()
    assert (first, second) == ("overloaded", "not_found")


def test_calls_count_as_their_http_twins(core: AppState) -> None:
    async def ask(stub: Any) -> None:
        await outcome(stub.ListVideos(pb.ListVideosRequest()))
        await outcome(stub.GetVideo(pb.GetVideoRequest(video_id="v0")))
        await outcome(stub.UploadVideo(iter([CHUNK])))
        watch = stub.WatchJob(pb.WatchJobRequest(job_id="j0"))
        await outcome(watch.read())

    serve(open_context(core), ask)
    page = core.telemetry.page().decode()
    for operation, code in [
        ("list_videos", "ok"),
        ("get_video", "not_found"),
        ("upload_video", "invalid_input"),
        ("watch_job", "not_found"),
    ]:
        assert f'qasir_requests_total{{code="{code}",operation="{operation}"}} 1.0' in page


CALLS = [method.name for method in pb.DESCRIPTOR.services_by_name["RetrievalService"].methods]


def test_every_call_has_a_name_the_metrics_know() -> None:
    assert {operation_of(call) for call in CALLS} <= set(OPERATIONS)


def test_a_call_has_the_name_of_its_http_operation() -> None:
    operations = {
        operation["operationId"]
        for path in create_app().openapi()["paths"].values()
        for operation in path.values()
    }
    assert {operation_of(call) for call in CALLS} <= operations


def test_a_bug_is_told_as_one(core: AppState, capfd: pytest.CaptureFixture[str]) -> None:
    nothing: Any = None
    broken = replace(core, catalogue=nothing)

    async def ask(stub: Any) -> tuple[str, str, dict[str, str]]:
        return await outcome(stub.GetVideo(pb.GetVideoRequest(video_id="v0")))

    status, code, _ = serve(open_context(broken), ask)
    assert (status, code) == ("INTERNAL", "internal")
    assert "NoneType" in "".join(capfd.readouterr())


def test_an_upload_under_way_ends_well_when_the_service_stops(
    running_service: RunningService,
) -> None:
    path = running_service.new_video()
    leader = running_service.service.leader()
    assert leader is not None

    def messages() -> Iterator[pb.UploadVideoRequest]:
        yield pb.UploadVideoRequest(header=pb.UploadHeader(filename=path.name))
        leader.terminate()
        wait_for(lambda: not running_service.listeners())
        yield pb.UploadVideoRequest(chunk=path.read_bytes())

    try:
        with grpc.insecure_channel(f"127.0.0.1:{running_service.settings.grpc_port}") as channel:
            stub: Any = RetrievalServiceStub(channel)  # type: ignore[no-untyped-call]  # generated
            accepted = stub.UploadVideo(messages())
        psutil.wait_procs([leader], timeout=15)
        assert not leader.is_running()
    finally:
        running_service.service.stop()
        running_service.start(running_service.service)
    assert running_service.finished(accepted.upload.job_id)["state"] == "ready"
