"""Routes of videos: upload, list, look, delete."""

import asyncio
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from starlette.requests import ClientDisconnect

from qasir.contract.jobs import Job
from qasir.contract.videos import ListVideosRequest, Upload, Video, VideoDetail, VideoPage
from qasir.errors import InvalidInput, NotFound, RequestStalled, StorageFull, UploadTooLarge
from service.http.accept import accept, check_header, receive, too_slow
from service.http.context import VIDEO_KEY, ContextDep, read_token, write_token
from service.http.multipart import FORM_BYTES, read_upload
from service.http.openapi import Responses, documented

router = APIRouter(prefix="/v1/videos", tags=["videos"], responses=documented())

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
EXISTING: Responses = {
    HTTPStatus.OK.value: {
        "model": Upload,
        "description": "These bytes were uploaded before; `updated` says whether their title or "
        "metadata changed.",
    }
}


@router.post(
    "",
    status_code=HTTPStatus.ACCEPTED,
    responses=EXISTING | documented(UploadTooLarge, RequestStalled, StorageFull),
    openapi_extra=UPLOAD_FORM,
)
async def upload_video(request: Request, response: Response, context: ContextDep) -> Upload:
    """Upload a video; it is searchable once its job is ready.

    The same bytes again keep their video and its id. A `title` or `metadata` that is sent with
    them replaces that of the video; one that is left out, or blank, stays. A video whose ingest
    failed or was cancelled is queued again.
    """
    core, content_type = context.core, request.headers.get("content-type", "")
    async with receive(context, _length(request)) as writer:
        try:
            async with asyncio.timeout(core.settings.upload_seconds):
                form = await read_upload(content_type, _body(request), writer)
        except TimeoutError as error:
            raise too_slow(core.settings.upload_seconds) from error
        header = check_header(form.header, core.settings)
        upload = await context.read(lambda: accept(form.received, header, core))
    if upload.existing:
        response.status_code = HTTPStatus.OK
    return upload


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect as error:
        raise InvalidInput("the client went away in the middle of the upload") from error


def _length(request: Request) -> int:
    length = request.headers.get("content-length", "0")
    # What the form adds to the video is not the video's.
    return max(0, int(length) - FORM_BYTES) if length.isdecimal() else 0


@router.get("")
async def list_videos(
    context: ContextDep, request: Annotated[ListVideosRequest, Query()]
) -> VideoPage:
    """List videos, newest first."""
    context.check_page(request.limit)
    after, catalogue = read_token(VIDEO_KEY, request.page_token), context.core.catalogue

    def read() -> VideoPage:
        page = catalogue.videos.page(request.limit, after)
        return VideoPage(
            videos=[Video.of(row) for row in page.rows],
            next_page_token=write_token(page.next_key),
            total_count=catalogue.videos.count(),
        )

    return await context.read(read)


@router.get("/{video_id}", responses=documented(NotFound))
async def get_video(video_id: str, context: ContextDep) -> VideoDetail:
    """Get one video with its newest job."""
    catalogue = context.core.catalogue

    def read() -> VideoDetail:
        video = Video.of(catalogue.videos.get(video_id))
        return VideoDetail(**dict(video), job=Job.of(catalogue.jobs.newest_of(video_id)))

    return await context.read(read)


@router.delete("/{video_id}", status_code=HTTPStatus.NO_CONTENT, responses=documented(NotFound))
async def delete_video(video_id: str, context: ContextDep) -> None:
    """Delete a video with its media, pictures and embeddings; no later search finds it."""
    media, videos = context.core.media, context.core.catalogue.videos
    await context.read(lambda: media.delete(video_id, lambda: videos.delete(video_id)))
