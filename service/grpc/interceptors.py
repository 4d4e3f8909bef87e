"""Around every call: bounds how many are under way, turns errors into statuses, counts, logs."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import structlog

from qasir.errors import QasirError
from qasir.v1 import retrieval_pb2 as pb
from service.http.context import Context
from service.http.problems import unexpected
from service.http.status import status_of
from service.observability.metric_types import RPC_OPERATIONS
from service.observability.requests import request_context
from service.observability.tracing import trace_id

SERVICE = pb.DESCRIPTOR.services_by_name["RetrievalService"].full_name
# A header of HTTP/2 has 8 KiB for all of it.
MAX_DETAIL = 2000
CANCELLED = "cancelled"

log = structlog.get_logger()

Call = grpc.aio.ServicerContext[Any, Any]
Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class ErrorMetricsInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc, unused-ignore]  # stubs may lack
    """Guards the calls of `qasir.v1.RetrievalService`; health and reflection pass by."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """The handler of a call, guarded."""
        handler = await continuation(handler_call_details)
        _, service, method = handler_call_details.method.split("/")
        if handler is None or service != SERVICE:
            return handler
        return self._guarded(handler, method)

    def _guarded(self, handler: Any, method: str) -> Handler:
        async def one(request: Any, call: Call) -> Any:
            async with self._call(method, call):
                serve = handler.stream_unary or handler.unary_unary
                return await serve(request, call)

        async def many(request: Any, call: Call) -> AsyncIterator[Any]:
            async with self._call(method, call):
                async for message in handler.unary_stream(request, call):
                    yield message

        coding = (handler.request_deserializer, handler.response_serializer)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(many, *coding)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(one, *coding)
        return grpc.unary_unary_rpc_method_handler(one, *coding)

    @asynccontextmanager
    async def _call(self, method: str, call: Call) -> AsyncIterator[None]:
        with request_context(self._context.core.telemetry, "grpc", _headers(call)) as request:
            request.operation = RPC_OPERATIONS[method]
            request.conventions |= {
                "rpc.system": "grpc",
                "rpc.service": SERVICE,
                "rpc.method": method,
            }
            status = grpc.StatusCode.OK
            try:
                with self._context.requests.place():
                    yield
            except QasirError as error:
                request.code, status = error.code, _status_code(error)
                await abort(call, error)
            except asyncio.CancelledError:
                request.code, status = CANCELLED, grpc.StatusCode.CANCELLED
                raise
            except Exception:
                request.code, status = QasirError.code, grpc.StatusCode.INTERNAL
                log.exception("bug", operation=request.operation)
                await abort(call, unexpected())
            finally:
                request.conventions["rpc.grpc.status_code"] = status.value[0]


def _headers(call: Call) -> dict[str, str]:
    """A call's metadata but for what is binary."""
    sent = call.invocation_metadata() or ()
    return {key: value for key, value in sent if isinstance(value, str)}


async def abort(call: Call, error: QasirError) -> None:
    """End a call with an error: its status, and the code that says more than the status."""
    status = status_of(type(error))
    told = [("qasir-code", error.code), ("qasir-retryable", str(error.retryable).lower())]
    if (trace := trace_id()) is not None:
        told.append(("qasir-trace-id", trace))
    if status.retry_after is not None:
        told += [
            ("retry-after", str(status.retry_after)),
            # What gRPC's own retries of any language go by.
            ("grpc-retry-pushback-ms", str(1000 * status.retry_after)),
        ]
    else:
        # RESOURCE_EXHAUSTED is a full queue, and a file over its limit, too.
        told.append(("grpc-retry-pushback-ms", "-1"))
    await call.abort(_status_code(error), str(error)[:MAX_DETAIL], tuple(told))


def _status_code(error: QasirError) -> grpc.StatusCode:
    code: grpc.StatusCode = getattr(grpc.StatusCode, status_of(type(error)).grpc)
    return code
