"""Routes of resumable uploads: tus 1.0.0 with creation, termination and expiration."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from http import HTTPStatus
from typing import Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from qasir.errors import Conflict, UnsupportedMedia
from service.http import tus
from service.http.context import Context, ContextDep
from service.http.multipart import PIECE_BYTES
from service.storage.uploads import UploadSession

router = APIRouter(prefix="/v1/uploads", tags=["uploads"], route_class=tus.TusRoute)

WATCH_SECONDS = 0.25


def _header(
    name: str, description: str, schema: dict[str, Any], required: bool = True
) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": schema,
    }


BYTES = {"type": "integer", "minimum": 0}
SPEAKS = _header("Tus-Resumable", "the protocol's version", {"const": tus.VERSION})
ANNOUNCED: dict[str, Any] = {
    "parameters": [
        SPEAKS,
        _header("Upload-Length", "bytes in all", {"type": "integer", "minimum": 1}),
        _header(
            "Upload-Metadata",
            "filename, title, metadata (a JSON object); base64",
            {"type": "string"},
            required=False,
        ),
    ]
}
CONTINUED: dict[str, Any] = {
    "parameters": [SPEAKS, _header("Upload-Offset", "bytes that have arrived already", BYTES)],
    "requestBody": {
        "required": True,
        "content": {tus.BODY_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
}
VERSIONED: dict[str, Any] = {"parameters": [SPEAKS]}


@router.options("", status_code=HTTPStatus.NO_CONTENT)
@router.options("/{upload_id}", status_code=HTTPStatus.NO_CONTENT, include_in_schema=False)
async def upload_options(context: ContextDep) -> Response:
    """What of tus is spoken here."""
    limit = str(context.core.settings.max_upload_bytes)
    return _answer({"Tus-Extension": tus.EXTENSIONS, "Tus-Max-Size": limit})


@router.post("", response_class=Response, status_code=HTTPStatus.CREATED, openapi_extra=ANNOUNCED)
async def create_upload(request: Request, context: ContextDep) -> Response:
    """Announce an upload; the answer's Location is where to send its bytes."""
    length = tus.count(request.headers, "Upload-Length")
    said = request.headers.get("Upload-Metadata", "")
    fields = tus.read_metadata(said)
    uploads = context.core.uploads
    upload_id = await context.read(lambda: uploads.create(length, fields, said))
    headers = {"Location": f"/v1/uploads/{upload_id}", **_expires(context, upload_id)}
    return _answer(headers, HTTPStatus.CREATED)


@router.head(
    "/{upload_id}", response_class=Response, status_code=HTTPStatus.OK, openapi_extra=VERSIONED
)
async def upload_offset(upload_id: str, context: ContextDep) -> Response:
    """How much has arrived; of a complete upload, which video and job it became."""
    with closing(await _hold(context, upload_id)) as upload:
        headers = {
            "Upload-Length": str(upload.about.length),
            "Upload-Metadata": upload.about.said,
            "Cache-Control": "no-store",
        }
        return _answer(headers | _state(context, upload_id, upload), HTTPStatus.OK)


@router.patch("/{upload_id}", status_code=HTTPStatus.NO_CONTENT, openapi_extra=CONTINUED)
async def continue_upload(upload_id: str, request: Request, context: ContextDep) -> Response:
    """Send the next bytes; with the last ones the upload becomes a video and a job."""
    sent = request.headers.get("content-type", "")
    if sent != tus.BODY_TYPE:
        raise UnsupportedMedia(f"content type '{sent[:80]}'; send {tus.BODY_TYPE}")
    offset = tus.count(request.headers, "Upload-Offset")
    with context.uploads.place(), closing(await _hold(context, upload_id)) as upload:
        if offset != upload.offset:
            raise Conflict(f"Upload-Offset: {offset}; {upload.offset} bytes have arrived")
        await _receive(request, upload, context.core.settings.upload_seconds)
        await anyio.to_thread.run_sync(context.core.uploads.finish, upload)
        return _answer(_state(context, upload_id, upload))


@router.delete("/{upload_id}", status_code=HTTPStatus.NO_CONTENT, openapi_extra=VERSIONED)
async def delete_upload(upload_id: str, context: ContextDep) -> Response:
    """Give an upload up; the video of a complete one stays."""
    with closing(await _hold(context, upload_id)) as upload:
        await context.read(lambda: context.core.uploads.remove(upload))
        return _answer({})


async def _hold(context: Context, upload_id: str) -> UploadSession:
    # A thread of its own pool: it may wait for another request, as catalogue reads never do.
    return await anyio.to_thread.run_sync(context.core.uploads.hold, upload_id)


async def _receive(request: Request, upload: UploadSession, seconds: float) -> None:
    """Store what comes until the body ends, the client goes, time is up or it is taken over."""
    pending = bytearray()
    try:
        # Who went away, or takes too long, asks for the offset and goes on from there.
        with suppress(ClientDisconnect, TimeoutError):
            async with asyncio.timeout(seconds) as limit, _letting_go(upload, limit):
                async for chunk in request.stream():
                    pending += chunk
                    if len(pending) >= PIECE_BYTES:
                        piece, pending = bytes(pending), bytearray()
                        await anyio.to_thread.run_sync(upload.write, piece)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(upload.write, bytes(pending))
            await anyio.to_thread.run_sync(upload.sync)


@asynccontextmanager
async def _letting_go(upload: UploadSession, limit: asyncio.Timeout) -> AsyncIterator[None]:
    """End the block's time once another request wants the upload.

    A client whose connection broke comes back long before this side notices that it did.
    """

    async def watch() -> None:
        while not upload.wanted:
            await asyncio.sleep(WATCH_SECONDS)
        limit.reschedule(0)

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


def _state(context: Context, upload_id: str, upload: UploadSession) -> dict[str, str]:
    offset, about = {"Upload-Offset": str(upload.offset)}, upload.about
    if about.video_id is None or about.job_id is None:
        return offset | _expires(context, upload_id)
    known = {"Qasir-Known": "true"} if about.known else {}
    return offset | {"Qasir-Video-Id": about.video_id, "Qasir-Job-Id": about.job_id} | known


def _expires(context: Context, upload_id: str) -> dict[str, str]:
    return {"Upload-Expires": tus.http_time(context.core.uploads.expires(upload_id))}


def _answer(headers: dict[str, str], status: HTTPStatus = HTTPStatus.NO_CONTENT) -> Response:
    return Response(status_code=status, headers=headers)
