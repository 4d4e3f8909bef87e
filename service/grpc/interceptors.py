"""Wraps every gRPC call: bounds concurrency, turns errors into statuses, counts and logs."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import structlog
from google.protobuf.message import Message

from qasir.errors import QasirError
from qasir.v1 import retrieval_pb2 as pb
from service.http.context import Context
from service.http.problems import status_of, unexpected
from service.observability.telemetry import request_context
from service.observability.tracing import trace_id

SERVICE = pb.DESCRIPTOR.services_by_name["RetrievalService"].full_name
# The headers of an HTTP/2 response have 8 KiB together.
MAX_DETAIL = 2000
CANCELLED = "cancelled"

log = structlog.get_logger()

Call = grpc.aio.ServicerContext[Any, Any]
# Texts, because gRPC's classes are generic in the stubs alone.
MethodHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
FoundHandler: TypeAlias = "grpc.RpcMethodHandler[Any, Any] | None"


class ErrorMetricsInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc, unused-ignore]  # stubs may lack
    """Wraps the calls of `qasir.v1.RetrievalService`, not those of health and reflection."""

    def __init__(self, context: Context) -> None:
        self._context = context

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[FoundHandler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> FoundHandler:
        """Return the handler of a call, wrapped."""
        handler = await continuation(handler_call_details)
        _, service, method = handler_call_details.method.split("/")
        if handler is None or service != SERVICE:
            return handler
        return self._wrapped(handler, method)

    def _wrapped(self, handler: Any, method: str) -> MethodHandler:
        # Any, because the stubs describe the handlers of the blocking server alone.
        async def answer_once(request: object, call: Call) -> Message:
            async with self._call(method, call):
                serve = handler.stream_unary or handler.unary_unary
                answer: Message = await serve(request, call)
                return answer

        async def answer_stream(request: Message, call: Call) -> AsyncIterator[Message]:
            async with self._call(method, call):
                async for message in handler.unary_stream(request, call):
                    yield message

        codecs = (handler.request_deserializer, handler.response_serializer)
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(answer_stream, *codecs)
        if handler.request_streaming:
            return grpc.stream_unary_rpc_method_handler(answer_once, *codecs)
        return grpc.unary_unary_rpc_method_handler(answer_once, *codecs)

    @asynccontextmanager
    async def _call(self, method: str, call: Call) -> AsyncIterator[None]:
        metadata = call.invocation_metadata() or ()
        headers = {key: value for key, value in metadata if isinstance(value, str)}
        with request_context(self._context.core.telemetry, "grpc", headers) as request:
            request.operation = operation_of(method)
            request.conventions |= {
                "rpc.system": "grpc",
                "rpc.service": SERVICE,
                "rpc.method": method,
            }
            status = grpc.StatusCode.OK
            try:
                with self._context.requests.acquire():
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


def operation_of(method: str) -> str:
    """Name the HTTP route that does the same as a method.

    >>> operation_of("GetVideo")
    'get_video'
    """
    return re.sub(r"(?<!^)(?=[A-Z])", "_", method).lower()


async def abort(call: Call, error: QasirError) -> None:
    """End a call with an error: its status, and its code in the trailing metadata."""
    status = status_of(type(error))
    metadata = [("qasir-code", error.code), ("qasir-retryable", str(error.retryable).lower())]
    if (trace := trace_id()) is not None:
        metadata.append(("qasir-trace-id", trace))
    if status.retry_after is not None:
        metadata += [
            ("retry-after", str(status.retry_after)),
            # Read by gRPC's own retries, in every language.
            ("grpc-retry-pushback-ms", str(1000 * status.retry_after)),
        ]
    else:
        # A retry cannot help: RESOURCE_EXHAUSTED is also the status of a file over its limit.
        metadata.append(("grpc-retry-pushback-ms", "-1"))
    await call.abort(_status_code(error), str(error)[:MAX_DETAIL], tuple(metadata))


def _status_code(error: QasirError) -> grpc.StatusCode:
    code: grpc.StatusCode = getattr(grpc.StatusCode, status_of(type(error)).grpc)
    return code
