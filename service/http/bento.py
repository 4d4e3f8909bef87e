"""The BentoML service: workers, packaging and health around the FastAPI app.

BentoML imports this module in a supervising process too, so nothing is opened before a
worker makes its instance.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Awaitable
from typing import Any, TypeVar, cast

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from qasir.contract.search import EmbedRequest, EmbedResponse, SearchRequest, SearchResponse
from qasir.errors import QasirError
from service.app import open_service
from service.grpc.server import GrpcServer
from service.http import search as routes
from service.http.app import create_app
from service.http.context import open_context
from service.http.middleware import RequestMiddleware
from service.http.problems import problem_response
from service.observability.logs import configure_logs
from service.observability.telemetry import request_context
from service.observability.tracing import close_tracing, configure_tracing
from service.settings import load_settings

# BentoML's timeout counts the upload; routes have deadlines of their own.
MARGIN_SECONDS = 60
PR_SET_PDEATHSIG = 1

T = TypeVar("T")

settings = load_settings()
app = create_app()
# After BentoML has configured its own logs: so the supervising process logs JSON, too.
configure_logs("service")


@bentoml.service(
    name="qasir",
    workers=settings.workers,
    traffic={"timeout": settings.upload_seconds + MARGIN_SECONDS},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(RequestMiddleware(app), path="/")
class Qasir:
    """Search long videos by text with super images (QASIR)."""

    def __init__(self) -> None:
        _end_with_parent()
        configure_tracing(settings, "service")
        core = open_service(settings)
        core.readiness.load()
        core.reconciler.start()
        self._context = app.state.context = open_context(core)
        core.canary.start()

    def __is_ready__(self) -> bool:
        return self._context.core.readiness.check()

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # bentoml is not followed
    async def open_grpc(self) -> None:
        """Serve gRPC in the event loop that now runs."""
        self._grpc = GrpcServer(self._context)
        await self._grpc.start()
        self._context.shutdown.install(self._stop_grpc)

    def _stop_grpc(self) -> None:
        # Together with HTTP, so that both have the same time to finish what is under way.
        self._grpc_stop = asyncio.create_task(self._grpc.stop())

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]  # bentoml is not followed
    async def close(self) -> None:
        """Release what the process holds."""
        await self._grpc.stop()
        self._context.core.close()
        close_tracing()

    # The fields are those of the contract; BentoML passes them as keywords.
    @bentoml.api(input_spec=SearchRequest)  # type: ignore[untyped-decorator]  # bentoml is not followed
    async def search(self, **fields: Any) -> SearchResponse:
        """As POST /v1/search, for BentoML's own client."""
        request = SearchRequest(**fields)
        return await self._answer("search", routes.search(request, self._context))

    @bentoml.api(input_spec=EmbedRequest)  # type: ignore[untyped-decorator]  # bentoml is not followed
    async def embed(self, **fields: Any) -> EmbedResponse:
        """As POST /v1/embed, for BentoML's own client."""
        request = EmbedRequest(**fields)
        return await self._answer("embed", routes.embed(request, self._context))

    async def _answer(self, operation: str, answer: Awaitable[T]) -> T:
        headers = {name.lower(): value for name, value in bentoml.Context().request.headers.items()}
        with request_context(self._context.core.telemetry, "bentoml", headers) as request:
            request.operation = operation
            try:
                return await answer
            except QasirError as error:
                request.code = error.code
                # BentoML would hide the message of a 503 and send no Retry-After. It sends a
                # response as it is.
                return cast(T, problem_response(error))


class SafePathMiddleware:
    """Escapes line breaks in paths, which no mount of BentoML's app matches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope:
            scope["path"] = scope["path"].replace("\n", "%0A")
        await self._app(scope, receive, send)


Qasir.add_asgi_middleware(SafePathMiddleware)  # type: ignore[attr-defined]  # bentoml is not followed


def _end_with_parent() -> None:
    """Stop this process if the supervising process is killed."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
