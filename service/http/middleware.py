"""Wraps every HTTP request: bounds concurrency and body size, counts and logs."""

import asyncio
import math
from http import HTTPStatus

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from qasir.errors import ModelUnavailable, Overloaded
from service.http.context import Context
from service.http.problems import CODE_KEY, problem_response
from service.observability.metrics import OTHER
from service.observability.telemetry import REQUEST_ID, request_context

# 64 texts of the greatest length, in the longest encoding of a character. An upload has its own
# limit and is never held in memory.
MAX_BODY_BYTES = 1 << 20
UPLOADS = (("POST", "/v1/videos"), ("PATCH", "/v1/uploads/"))
# Paths with these endings accept a picture in base64.
PICTURE_PATHS = ("/search", "/attention")


class RequestMiddleware:
    """An ASGI app around the FastAPI app.

    Not a Starlette app: BentoML answers unknown paths itself if the mounted app is one.
    """

    def __init__(self, app: FastAPI) -> None:
        self._app: ASGIApp = app
        self._state = app.state

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        context: Context = self._state.context
        headers = {name.decode("latin-1"): v.decode("latin-1") for name, v in scope["headers"]}
        with request_context(context.core.telemetry, "http", headers) as request:

            async def send_recorded(message: Message) -> None:
                if message["type"] == "http.response.start":
                    request.status = int(message["status"])
                    header = (REQUEST_ID.encode(), request.request_id.encode())
                    message = {**message, "headers": [*message.get("headers", ()), header]}
                await send(message)

            limits = context.core.settings
            max_bytes = _max_bytes(scope, limits.max_picture_bytes)
            receive = _bounded(receive, max_bytes, limits.request_stall_seconds)
            try:
                with context.requests.acquire(), context.shutdown.request():
                    await self._app(scope, receive, send_recorded)
            except (Overloaded, ModelUnavailable) as error:
                scope[CODE_KEY] = error.code
                if request.status is None:
                    await problem_response(error)(scope, receive, send_recorded)
            finally:
                route = scope.get("route")
                request.operation = getattr(route, "name", None) or OTHER
                request.conventions["http.request.method"] = scope["method"]
                request.conventions["http.route"] = getattr(route, "path", OTHER)
                request.code = scope.get(CODE_KEY, "ok")


def _max_bytes(scope: Scope, max_picture_bytes: int) -> float:
    if any(scope["method"] == m and scope["path"].startswith(path) for m, path in UPLOADS):
        return math.inf
    picture = max_picture_bytes * 4 / 3 if scope["path"].endswith(PICTURE_PATHS) else 0
    return MAX_BODY_BYTES + picture


def _bounded(receive: Receive, max_bytes: float, stall_seconds: float) -> Receive:
    """Limit the bytes of the body and the time between two pieces of it."""
    count, complete = 0, False

    async def receive_bounded() -> Message:
        nonlocal count, complete
        if complete:
            # Only the disconnect is still to come, and it may take any time.
            return await receive()
        try:
            async with asyncio.timeout(stall_seconds):
                message = await receive()
        except TimeoutError as error:
            raise HTTPException(HTTPStatus.REQUEST_TIMEOUT) from error
        count += len(message.get("body", b""))
        complete = not message.get("more_body", False)
        if count > max_bytes:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        return message

    return receive_bounded
