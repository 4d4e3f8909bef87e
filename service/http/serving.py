"""One process of the service: its app, gRPC and what runs beside them."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar, cast

from qasir.contract.search import EmbedRequest, EmbedResponse, SearchRequest, SearchResponse
from qasir.errors import QasirError
from service.app import open_service
from service.grpc.server import GrpcServer
from service.http import search as routes
from service.http.app import create_app
from service.http.context import open_context
from service.http.middleware import RequestMiddleware
from service.http.problems import problem_response
from service.observability.telemetry import request_context
from service.observability.tracing import close_tracing, configure_tracing
from service.settings import Settings

T = TypeVar("T")


class ServingProcess:
    """Serves HTTP by `app`, and gRPC from `open_grpc` on."""

    def __init__(self, settings: Settings) -> None:
        configure_tracing(settings, "service")
        core = open_service(settings)
        core.readiness.load()
        core.reconciler.start()
        app = create_app()
        self._context = app.state.context = open_context(core)
        self.app = RequestMiddleware(app)
        core.canary.start()

    def ready(self) -> bool:
        """Return whether it can answer searches."""
        return self._context.core.readiness.check()

    async def open_grpc(self) -> None:
        """Serve gRPC in the event loop that now runs."""
        self._grpc = GrpcServer(self._context)
        await self._grpc.start()
        self._context.shutdown.install(self._stop_grpc)

    async def close(self) -> None:
        """Release what the process holds."""
        await self._grpc.stop()
        self._context.core.close()
        close_tracing()

    async def search(self, request: SearchRequest, headers: dict[str, str]) -> SearchResponse:
        """Answer BentoML's own client."""
        return await self._answer("search", routes.search(request, self._context), headers)

    async def embed(self, request: EmbedRequest, headers: dict[str, str]) -> EmbedResponse:
        """Answer BentoML's own client."""
        return await self._answer("embed", routes.embed(request, self._context), headers)

    def _stop_grpc(self) -> None:
        # Together with HTTP, so that both have the same time to finish what is under way.
        self._grpc_stop = asyncio.create_task(self._grpc.stop())

    async def _answer(self, operation: str, answer: Awaitable[T], headers: dict[str, str]) -> T:
        with request_context(self._context.core.telemetry, "bentoml", headers) as request:
            request.operation = operation
            try:
                return await answer
            except QasirError as error:
                request.code = error.code
                # BentoML would hide the message of a 503 and send no Retry-After. It sends a
                # response as it is.
                return cast(T, problem_response(error))
