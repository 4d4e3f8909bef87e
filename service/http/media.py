"""Routes of what a video looks like: its file, whole or by Range, its frames and super images."""

import os
from http import HTTPStatus
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from qasir.errors import Conflict, NotFound
from service.app import AppState
from service.catalogue.vector_files import VectorFile
from service.http.context import ContextDep
from service.http.openapi import CONTENT, Responses, documented
from service.storage.media import media_type
from service.storage.previews import read_cell, read_preview

router = APIRouter(prefix="/v1/videos/{video_id}", tags=["videos"], responses=documented(NotFound))

# More than any video has; the number becomes part of a file name.
MAX_SUPER_IMAGE = 10**7
# What never changes may be cached: a video's id is the digest of its bytes.
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
JPEG: Responses = {HTTPStatus.OK.value: {"content": {"image/jpeg": {}}}}
VIDEO: dict[str, Any] = {"content": {"video/*": {}, "application/octet-stream": {}}}
MEDIA: Responses = {
    HTTPStatus.OK.value: VIDEO,
    HTTPStatus.PARTIAL_CONTENT.value: {"description": "The bytes of the Range.", **VIDEO},
    HTTPStatus.BAD_REQUEST.value: {
        "description": "`invalid_input`: The Range is malformed.",
        "content": CONTENT,
    },
    HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE.value: {
        "description": "`invalid_input`: The Range is outside the file.",
        "content": CONTENT,
    },
}


class MediaFile(FileResponse):
    """Sends a file, and answers a bad Range with a problem.

    The file is opened before the response starts, so a delete does not cut the response short.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file.

        Raises:
            NotFound: it was deleted meanwhile.
            HTTPException: the Range is malformed (400) or outside the file (416).
        """

        async def send_or_raise(message: Message) -> None:
            # Starlette answers these as plain text. Nothing has been sent yet.
            if message.get("status", HTTPStatus.OK) >= HTTPStatus.BAD_REQUEST:
                headers = {key.decode(): value.decode() for key, value in message["headers"]}
                range_of = headers.get("content-range")
                kept = {"Content-Range": range_of} if range_of else None
                raise HTTPException(message["status"], headers=kept)
            await send(message)

        try:
            handle = await anyio.to_thread.run_sync(os.open, self.path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise NotFound("the video was deleted just now") from error
        try:
            # Starlette opens its path after the headers; this path leads to the open file.
            self.path = f"/proc/self/fd/{handle}"
            await super().__call__(scope, receive, send_or_raise)
        finally:
            os.close(handle)


@router.head("/media", include_in_schema=False)
@router.get("/media", response_class=FileResponse, responses=MEDIA)
async def get_media(video_id: str, context: ContextDep) -> FileResponse:
    """Get the bytes that were uploaded, whole or by Range."""
    video = await context.read(lambda: context.core.catalogue.videos.get(video_id))
    headers = {**FOREVER, "X-Content-Type-Options": "nosniff"}
    path = context.core.media.original(video_id)
    return MediaFile(path, headers=headers, media_type=media_type(video.container))


@router.head("/thumbnail", include_in_schema=False)
@router.get("/thumbnail", response_class=Response, responses=JPEG | documented(Conflict))
async def get_thumbnail(
    video_id: str, context: ContextDep, t: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0
) -> Response:
    """Get the frame on screen at `t` seconds, as a JPEG; past the end, the last one."""

    media = context.core.media

    def read() -> bytes:
        file = _vector_file(context.core, video_id, None)
        frame = min(max(0, int(t * file.fps)), file.frames - 1)
        previews = media.previews(video_id, file.grid_size, file.fps)
        return read_cell(previews, file.grid_size, frame)

    return _jpeg(await context.read(read))


@router.head("/super-images/{number}", include_in_schema=False)
@router.get(
    "/super-images/{number}", response_class=Response, responses=JPEG | documented(Conflict)
)
async def get_super_image(
    video_id: str,
    number: Annotated[int, Path(ge=0, le=MAX_SUPER_IMAGE)],
    context: ContextDep,
    grid_size: int | None = None,
) -> Response:
    """Get super image `number` as a JPEG, its frames in their own aspect."""

    media = context.core.media

    def read() -> bytes:
        file = _vector_file(context.core, video_id, grid_size)
        if number >= file.super_images:
            raise NotFound(
                f"no super image {number}: video '{video_id}' has {file.super_images} at grid "
                f"size {file.grid_size}, numbered from 0"
            )
        return read_preview(media.previews(video_id, file.grid_size, file.fps), number)

    return _jpeg(await context.read(read))


def _jpeg(picture: bytes) -> Response:
    return Response(picture, headers=FOREVER, media_type="image/jpeg")


def _vector_file(core: AppState, video_id: str, grid_size: int | None) -> VectorFile:
    """Find the vector file of a grid size, or of the smallest: it says which previews exist."""
    video = core.catalogue.videos.get(video_id)
    files = core.catalogue.vector_files.of_video(video_id)
    if not files:
        raise Conflict(f"video '{video_id}' is {video.state}; pictures come with 'ready'")
    matches = [file for file in files if grid_size in (None, file.grid_size)]
    if not matches:
        sizes = sorted({file.grid_size for file in files})
        raise NotFound(
            f"video '{video_id}' has no super images of grid size {grid_size}; it has {sizes}"
        )
    return min(matches, key=lambda file: file.grid_size)
