"""The BentoML service: workers, packaging and health around the FastAPI app.

BentoML imports this module in a supervising process too. So nothing is opened before a worker
makes its instance, and what only a worker needs is in `service.http.serving`, imported then: the
supervising process starts in half the time.
"""

import ctypes
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from qasir.contract.search import EmbedRequest, EmbedResponse, SearchRequest, SearchResponse
from qasir.errors import MissingExtra
from service.observability.logs import configure_logs
from service.settings import load_settings

if TYPE_CHECKING:
    from service.http.serving import ServingProcess

# BentoML's timeout counts the upload; routes have deadlines of their own.
MARGIN_SECONDS = 60
PR_SET_PDEATHSIG = 1

settings = load_settings()
# After BentoML has configured its own logs: so the supervising process logs JSON, too.
configure_logs("service")


class App:
    """The app of the process that a worker makes."""

    process: "ServingProcess"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        await self.process.app(scope, receive, send)


app = App()


@bentoml.service(
    name="qasir",
    workers=settings.workers,
    traffic={"timeout": settings.upload_seconds + MARGIN_SECONDS},
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(app, path="/")
class Qasir:
    """Search long videos by text with super images (QASIR)."""

    def __init__(self) -> None:
        _end_with_parent()
        try:
            from service.http.serving import ServingProcess
        except (ImportError, MissingExtra):
            # BentoML would start the worker again and again, and no start installs a package.
            os.kill(os.getppid(), signal.SIGTERM)
            raise

        self.process = app.process = ServingProcess(settings)

    def __is_ready__(self) -> bool:
        return self.process.ready()

    @bentoml.on_startup  # type: ignore[untyped-decorator]  # bentoml is not followed
    async def open_grpc(self) -> None:
        """Serve gRPC in the event loop that now runs."""
        await self.process.open_grpc()

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]  # bentoml is not followed
    async def close(self) -> None:
        """Release what the process holds."""
        await self.process.close()

    # The fields are those of the contract; BentoML passes them as keywords.
    @bentoml.api(input_spec=SearchRequest)  # type: ignore[untyped-decorator]  # bentoml is not followed
    async def search(self, **fields: Any) -> SearchResponse:
        """As POST /v1/search, for BentoML's own client."""
        return await self.process.search(SearchRequest(**fields), _headers())

    @bentoml.api(input_spec=EmbedRequest)  # type: ignore[untyped-decorator]  # bentoml is not followed
    async def embed(self, **fields: Any) -> EmbedResponse:
        """As POST /v1/embed, for BentoML's own client."""
        return await self.process.embed(EmbedRequest(**fields), _headers())


class SafePathMiddleware:
    """Escapes line breaks in paths, which no mount of BentoML's app matches."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if "path" in scope:
            scope["path"] = scope["path"].replace("\n", "%0A")
        await self._app(scope, receive, send)


Qasir.add_asgi_middleware(SafePathMiddleware)  # type: ignore[attr-defined]  # bentoml is not followed


def _headers() -> dict[str, str]:
    return {name.lower(): value for name, value in bentoml.Context().request.headers.items()}


def _end_with_parent() -> None:
    """Stop this process if the supervising process is killed."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
