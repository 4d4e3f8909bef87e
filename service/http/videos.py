"""Routes of videos: upload, list, look, delete."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response
from fastapi.responses import FileResponse
from starlette.requests import ClientDisconnect

from qasir.errors import InvalidInput
from service.catalogue.videos import Accepted
from service.http.context import Context, ContextDep
from service.http.media_file import MediaFile
from service.http.multipart import FORM_BYTES, read_upload
from service.http.schemas.jobs import JobOut
from service.http.schemas.shared import PageIn
from service.http.schemas.videos import Upload, VideoDetail, VideoOut, VideoPage
from service.storage.media_types import media_type

router = APIRouter(prefix="/v1/videos", tags=["videos"])

UPLOAD_FORM: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["video"],
                    "additionalProperties": False,
                    "properties": {
                        "video": {"type": "string", "format": "binary"},
                        "title": {
                            "type": "string",
                            "description": "default: the file's name without its ending",
                        },
                        "metadata": {"type": "string", "description": "a JSON object"},
                    },
                }
            }
        },
    }
}
# More than any video has; the number becomes part of a file name.
MAX_SUPER_IMAGE = 10**7
# What never changes may be kept: a video's id is the digest of its bytes.
FOREVER = {"Cache-Control": "private, max-age=31536000, immutable"}
Responses = dict[int | str, dict[str, Any]]
JPEG: Responses = {HTTPStatus.OK.value: {"content": {"image/jpeg": {}}}}
MEDIA: Responses = {
    HTTPStatus.OK.value: {"content": {"video/*": {}, "application/octet-stream": {}}},
    HTTPStatus.PARTIAL_CONTENT.value: {"content": {"video/*": {}, "application/octet-stream": {}}},
}


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    response_model=Upload,
    responses={HTTPStatus.OK.value: {"model": Upload, "description": "These bytes are known."}},
    openapi_extra=UPLOAD_FORM,
)
async def add_video(request: Request, response: Response, context: ContextDep) -> Upload:
    """Upload a video; it is searchable once its job is ready."""
    with context.uploads.place():
        accepted = await _accept(request, context)
    if not accepted.is_new:
        response.status_code = HTTPStatus.OK
    return Upload.of(accepted)


async def _accept(request: Request, context: Context) -> Accepted:
    videos, expected = context.core.videos, _length(request)
    with ExitStack() as stack:
        reception = stack.enter_context(await context.read(lambda: videos.receive(expected)))
        content_type = request.headers.get("content-type", "")
        try:
            async with asyncio.timeout(context.core.settings.upload_seconds):
                form = await read_upload(content_type, _body(request), reception)
        except TimeoutError as error:
            limit = context.core.settings.upload_seconds
            raise InvalidInput(
                f"the upload took more than {limit:.0f} s; use a faster connection "
                f"or raise QASIR_UPLOAD_SECONDS"
            ) from error
        title = videos.title(form.title, form.filename)
        metadata = videos.metadata(form.metadata)
        return await context.read(lambda: videos.keep(form.received, title, metadata))


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise InvalidInput("the client went away in the middle of the upload") from error


def _length(request: Request) -> int:
    said = request.headers.get("content-length", "0")
    # What the form adds to the video is not the video's.
    return max(0, int(said) - FORM_BYTES) if said.isdecimal() else 0


@router.get("", response_model=VideoPage)
async def list_videos(context: ContextDep, asked: Annotated[PageIn, Query()]) -> VideoPage:
    """Videos, newest first."""
    context.check_page(asked.limit)
    page = await context.read(lambda: context.core.videos.page(asked.offset, asked.limit))
    videos = [VideoOut.of(video) for video in page.videos]
    return VideoPage(videos=videos, offset=asked.offset, limit=asked.limit, total=page.total)


@router.get("/{video_id}", response_model=VideoDetail)
async def get_video(video_id: str, context: ContextDep) -> VideoDetail:
    """One video with its newest job."""
    video, job = await context.read(lambda: context.core.videos.get(video_id))
    return VideoDetail(**VideoOut.of(video).model_dump(), job=JobOut.of(job))


@router.delete("/{video_id}", status_code=HTTPStatus.NO_CONTENT)
async def delete_video(video_id: str, context: ContextDep) -> Response:
    """Remove a video with its media, pictures and vectors; no later search finds it."""
    await context.read(lambda: context.core.videos.delete(video_id))
    return Response(status_code=HTTPStatus.NO_CONTENT)


@router.head("/{video_id}/media", include_in_schema=False)
@router.get("/{video_id}/media", response_class=FileResponse, responses=MEDIA)
async def video_media(video_id: str, context: ContextDep) -> FileResponse:
    """The bytes that were uploaded, whole or by Range."""
    video, path = await context.read(lambda: context.core.videos.media(video_id))
    headers = {**FOREVER, "X-Content-Type-Options": "nosniff"}
    return MediaFile(path, headers=headers, media_type=media_type(video.container))


@router.head("/{video_id}/thumbnail", include_in_schema=False)
@router.get("/{video_id}/thumbnail", response_class=Response, responses=JPEG)
async def video_thumbnail(
    video_id: str, context: ContextDep, t: Annotated[float, Query(ge=0, allow_inf_nan=False)] = 0.0
) -> Response:
    """The frame on screen at `t` seconds."""
    jpeg = await context.read(lambda: context.core.videos.thumbnail(video_id, t))
    return Response(jpeg, headers=FOREVER, media_type="image/jpeg")


@router.head("/{video_id}/super-images/{number}", include_in_schema=False)
@router.get("/{video_id}/super-images/{number}", response_class=Response, responses=JPEG)
async def video_super_image(
    video_id: str,
    number: Annotated[int, Path(ge=0, le=MAX_SUPER_IMAGE)],
    context: ContextDep,
    grid_size: int | None = None,
) -> Response:
    """Super image `number`, its frames in their own aspect."""
    picture = await context.read(
        lambda: context.core.videos.super_image(video_id, number, grid_size)
    )
    return Response(picture, headers=FOREVER, media_type="image/jpeg")
