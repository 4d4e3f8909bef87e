"""The gRPC side of the running service, and its errors as tests compare them."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import anyio
import grpc
import pytest

from qasir.v1.retrieval_pb2_grpc import RetrievalServiceStub
from service.grpc.server import GrpcServer
from service.http.context import Context
from service.settings import Settings
from tests.support.service import RunningService

T = TypeVar("T")


@dataclass(frozen=True)
class Refusal:
    """How a call ended that did not succeed."""

    status: grpc.StatusCode
    code: str
    detail: str
    metadata: dict[str, str]


@contextmanager
def new_stub(settings: Settings) -> Iterator[Any]:
    """A stub on a connection of its own, which any of the service's processes may get."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    target = f"{settings.host}:{settings.grpc_port}"
    with grpc.insecure_channel(target, options) as channel:
        yield RetrievalServiceStub(channel)  # type: ignore[no-untyped-call]  # generated


def serve(context: Context, ask: Callable[[Any], Awaitable[T]]) -> T:
    """What `ask` finds with a stub of a server in this process."""

    async def run() -> T:
        server = GrpcServer(context)
        await server.start()
        port = context.core.settings.grpc_port
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                return await ask(RetrievalServiceStub(channel))  # type: ignore[no-untyped-call]
        finally:
            await server.stop()

    return anyio.run(run)


async def outcome(call: Awaitable[Any]) -> tuple[str, str, dict[str, str]]:
    """Status, code and metadata of a call; OK where it succeeded."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        told = {key: str(value) for key, value in error.trailing_metadata()}
        return error.code().name, told.get("qasir-code", ""), told
    return "OK", "ok", {}


@pytest.fixture
def stub(running_service: RunningService) -> Iterator[Any]:
    """Calls of the session's service."""
    with new_stub(running_service.settings) as made:
        yield made


def refused(call: Callable[[], Any]) -> Refusal:
    """The error that a call must end with."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    error: Any = caught.value
    metadata = {each.key: each.value for each in error.trailing_metadata()}
    return Refusal(error.code(), metadata["qasir-code"], error.details(), metadata)
