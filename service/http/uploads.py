"""Routes of resumable uploads: tus 1.0.0 with creation, termination and expiration."""

import asyncio
from contextlib import closing, suppress
from email.utils import formatdate
from http import HTTPStatus
from typing import Any

import anyio
import anyio.to_thread
from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from qasir.contract.videos import UploadHeader
from qasir.errors import (
    Conflict,
    InvalidInput,
    NotFound,
    StorageFull,
    UnsupportedMedia,
    UnsupportedProtocol,
    UploadTooLarge,
)
from service.app import AppState
from service.http import tus
from service.http.accept import accept, check_header, check_queue, read_metadata, write_pieces
from service.http.context import Context, ContextDep
from service.http.openapi import documented
from service.storage.uploads import UploadInfo, UploadSession

router = APIRouter(
    prefix="/v1/uploads",
    tags=["uploads"],
    route_class=tus.TusRoute,
    responses=documented(UnsupportedProtocol),
)

WATCH_SECONDS = 0.25


def _header(
    name: str, description: str, schema: dict[str, Any], required: bool = True
) -> dict[str, Any]:
    about = {"description": description, "schema": schema}
    return {"name": name, "in": "header", "required": required, **about}


VERSION = _header("Tus-Resumable", "the protocol's version", {"const": tus.VERSION})
LENGTH = _header("Upload-Length", "bytes in all", {"type": "integer", "minimum": 1})
OFFSET = _header(
    "Upload-Offset", "bytes that have arrived already", {"type": "integer", "minimum": 0}
)
METADATA = _header(
    "Upload-Metadata",
    "filename, title, metadata (a JSON object); base64",
    {"type": "string"},
    required=False,
)
ANNOUNCED: dict[str, Any] = {"parameters": [VERSION, LENGTH, METADATA]}
CONTINUED: dict[str, Any] = {
    "parameters": [VERSION, OFFSET],
    "requestBody": {
        "required": True,
        "content": {tus.BODY_TYPE: {"schema": {"type": "string", "format": "binary"}}},
    },
}
VERSIONED: dict[str, Any] = {"parameters": [VERSION]}


@router.options("", status_code=HTTPStatus.NO_CONTENT)
@router.options("/{upload_id}", status_code=HTTPStatus.NO_CONTENT, include_in_schema=False)
async def get_upload_options(context: ContextDep) -> Response:
    """Tell which version and extensions of tus are supported."""
    limit = str(context.core.settings.max_upload_bytes)
    return _answer({"Tus-Extension": tus.EXTENSIONS, "Tus-Max-Size": limit})


@router.post(
    "",
    response_class=Response,
    status_code=HTTPStatus.CREATED,
    responses=documented(UploadTooLarge, StorageFull),
    openapi_extra=ANNOUNCED,
)
async def create_upload(request: Request, context: ContextDep) -> Response:
    """Announce an upload; the answer's Location is where to send its bytes.

    `title` and `metadata` replace those of an existing video with the same bytes, as at
    POST /v1/videos.
    """
    length = tus.read_count(request.headers, "Upload-Length")
    if length == 0:
        raise InvalidInput("an upload of 0 bytes is no video; send the whole file")
    text = request.headers.get("Upload-Metadata", "")
    pairs = tus.read_metadata(text)
    header = UploadHeader(
        filename=pairs.get("filename", ""),
        title=pairs.get("title"),
        metadata=read_metadata(pairs.get("metadata")),
    )
    header = check_header(header, context.core.settings)
    info = UploadInfo(length=length, metadata_text=text, header=header)

    def create() -> str:
        check_queue(context.core)
        return context.core.uploads.create(info)

    upload_id = await context.read(create)
    headers = {"Location": f"/v1/uploads/{upload_id}", **_expires(context, upload_id)}
    return _answer(headers, HTTPStatus.CREATED)


@router.head(
    "/{upload_id}",
    response_class=Response,
    status_code=HTTPStatus.OK,
    responses=documented(NotFound, Conflict),
    openapi_extra=VERSIONED,
)
async def get_upload_offset(upload_id: str, context: ContextDep) -> Response:
    """Tell how much has arrived; of a complete upload, which video and job it became."""
    with closing(await _acquire(context, upload_id)) as upload:
        headers = {
            "Upload-Length": str(upload.info.length),
            "Upload-Metadata": upload.info.metadata_text,
            "Cache-Control": "no-store",
        }
        return _answer(headers | _state(context, upload_id, upload), HTTPStatus.OK)


@router.patch(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(NotFound, Conflict, UnsupportedMedia, StorageFull),
    openapi_extra=CONTINUED,
)
async def continue_upload(upload_id: str, request: Request, context: ContextDep) -> Response:
    """Send the next bytes; with the last ones the upload becomes a video and a job.

    Then this answer and every later HEAD have `Qasir-Video-Id` and `Qasir-Job-Id`, and as `true`
    `Qasir-Existing` and `Qasir-Updated` where they hold, as at POST /v1/videos.
    """
    content_type = request.headers.get("content-type", "")
    if content_type != tus.BODY_TYPE:
        raise UnsupportedMedia(f"content type '{content_type[:80]}'; send {tus.BODY_TYPE}")
    offset = tus.read_count(request.headers, "Upload-Offset")
    with context.uploads.acquire(), closing(await _acquire(context, upload_id)) as upload:
        if offset != upload.offset:
            raise Conflict(f"Upload-Offset: {offset}; {upload.offset} bytes have arrived")
        await _receive(request, upload, context.core.settings.upload_seconds)
        await anyio.to_thread.run_sync(_finish, context.core, upload)
        return _answer(_state(context, upload_id, upload))


@router.delete(
    "/{upload_id}",
    status_code=HTTPStatus.NO_CONTENT,
    responses=documented(NotFound, Conflict),
    openapi_extra=VERSIONED,
)
async def delete_upload(upload_id: str, context: ContextDep) -> Response:
    """Give an upload up; the video of a complete one stays."""
    with closing(await _acquire(context, upload_id)) as upload:
        await context.read(upload.remove)
        return _answer({})


async def _acquire(context: Context, upload_id: str) -> UploadSession:
    """Lock an upload for this request; complete bytes become a video first."""

    def acquire() -> UploadSession:
        upload = context.core.uploads.acquire(upload_id)
        try:
            _finish(context.core, upload)
        except BaseException:
            upload.close()
            raise
        return upload

    # Not by `context.read`: it may wait for another request, as catalogue reads never do.
    return await anyio.to_thread.run_sync(acquire)


def _finish(core: AppState, upload: UploadSession) -> None:
    """Make a video of complete bytes, which then no crash loses; else make them durable."""
    if upload.sync() == upload.info.length and upload.info.upload is None:
        # The queue's room is not checked again: it was promised when the upload began.
        upload.finish(lambda received: accept(received, upload.info.header, core))


async def _receive(request: Request, upload: UploadSession, seconds: float) -> None:
    """Store bytes until the body ends, the client leaves, time is up or another request comes.

    A client whose connection broke comes back long before this side notices that it did.
    """

    async def end_when_wanted(limit: asyncio.Timeout) -> None:
        while not upload.requested:
            await asyncio.sleep(WATCH_SECONDS)
        limit.reschedule(0)

    try:
        # A client that left, or took too long, asks for the offset and goes on from there.
        with suppress(ClientDisconnect, TimeoutError):
            async with asyncio.timeout(seconds) as limit:
                watching = asyncio.create_task(end_when_wanted(limit))
                try:
                    await write_pieces(request.stream(), upload.write, resumable=True)
                finally:
                    watching.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(upload.sync)


def _state(context: Context, upload_id: str, upload: UploadSession) -> dict[str, str]:
    offset, done = {"Upload-Offset": str(upload.offset)}, upload.info.upload
    if done is None:
        return offset | _expires(context, upload_id)
    ids = {"Qasir-Video-Id": done.video_id, "Qasir-Job-Id": done.job_id}
    flags = {"Qasir-Existing": done.existing, "Qasir-Updated": done.updated}
    return offset | ids | {name: "true" for name, holds in flags.items() if holds}


def _expires(context: Context, upload_id: str) -> dict[str, str]:
    return {"Upload-Expires": formatdate(context.core.uploads.expires(upload_id), usegmt=True)}


def _answer(headers: dict[str, str], status: HTTPStatus = HTTPStatus.NO_CONTENT) -> Response:
    return Response(status_code=status, headers=headers)
