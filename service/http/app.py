"""The FastAPI app: all of /v1, the page, metrics, the OpenAPI document, errors as problems."""

import asyncio
import math
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Response
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qasir.errors import ModelUnavailable, Overloaded
from service.http import (
    docs,
    jobs,
    models,
    page,
    pictures,
    problems,
    search,
    uploads,
    videos,
    worker_metrics,
)
from service.http.context import Context, ContextDep
from service.http.openapi import DocumentedApp
from service.observability.metric_types import OTHER
from service.observability.requests import REQUEST_ID, RequestContext, request_context
from service.observability.telemetry import CONTENT_TYPE
from service.settings import Settings

log = structlog.get_logger()

# 64 texts of the longest allowed length, in the longest encoding of a character. An upload
# has a limit of its own, and is never held in memory.
MAX_BODY_BYTES = 1 << 20
STREAMED = (("POST", "/v1/videos"), ("PATCH", "/v1/uploads/"))
# What ends so may carry a picture, in base64.
PICTURE_PATHS = ("/search", "/attention")


def create_app() -> FastAPI:
    """Create the app without its context, which each process sets once it has one."""
    app = DocumentedApp()
    for module in (search, videos, pictures, uploads, jobs, models, docs, page, worker_metrics):
        app.include_router(module.router)
    app.add_api_route("/metrics", metrics_page, name="metrics", include_in_schema=False)
    problems.install(app)
    return app


async def metrics_page(context: ContextDep) -> Response:
    """The text Prometheus reads, for all service processes together."""
    core = context.core
    page = await context.read(lambda: core.telemetry.page(core.gauges))
    return Response(page, media_type=CONTENT_TYPE)


class RequestMiddleware:
    """Around the whole app: bounds the requests under way, counts and logs each one.

    A plain ASGI callable, because BentoML lets requests for unknown paths pass by an app
    that is a Starlette one, and then answers them itself.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app: ASGIApp = app
        self._state = app.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context: Context = self._state.context
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        with request_context(context.core.telemetry, "http", headers) as request:
            answered = _Answered(send, request)
            settings = context.core.settings
            try:
                with context.requests.place(), context.ending.request():
                    await self._app(scope, _bounded(scope, receive, settings), answered)
            except (Overloaded, ModelUnavailable) as error:
                scope[problems.CODE_KEY] = error.code
                if request.status is None:
                    await problems.problem_response(error)(scope, receive, answered)
            finally:
                route = scope.get("route")
                request.operation = getattr(route, "name", None) or OTHER
                request.conventions["http.request.method"] = scope["method"]
                request.conventions["http.route"] = getattr(route, "path", OTHER)
                request.code = scope.get(problems.CODE_KEY, "ok")


def _most_bytes(scope: Scope, settings: Settings) -> float:
    if _is_streamed(scope):
        return math.inf
    picture = settings.max_picture_bytes * 4 / 3 if scope["path"].endswith(PICTURE_PATHS) else 0
    return MAX_BODY_BYTES + picture


def _bounded(scope: Scope, receive: Receive, settings: Settings) -> Receive:
    """The request's body, in so many bytes and without long silences."""
    limit = _most_bytes(scope, settings)
    taken, complete = 0, False

    async def count() -> Message:
        nonlocal taken, complete
        if complete:
            # What is left to hear is that the client goes away, whenever that is.
            return await receive()
        try:
            async with asyncio.timeout(settings.request_stall_seconds):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from error
        taken += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if taken > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return count


def _is_streamed(scope: Scope) -> bool:
    return any(scope["method"] == m and scope["path"].startswith(path) for m, path in STREAMED)


class _Answered:
    """Remembers the status that goes out, and sends the request's id with it."""

    def __init__(self, send: Send, request: RequestContext) -> None:
        self._send = send
        self._request = request

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._request.status = int(message["status"])
            sent = (REQUEST_ID.encode(), self._request.request_id.encode())
            message = {**message, "headers": [*message.get("headers", ()), sent]}
        await self._send(message)
