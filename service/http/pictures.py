"""Routes of what a video looks like: its file, frames and super images."""

from http import HTTPStatus
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse

from qasir.errors import Conflict, NotFound
from service.app import AppState
from service.catalogue.vector_files import VectorFile
from service.http.context import ContextDep
from service.http.media_file import MediaFile
from service.http.openapi import CONTENT, Responses, documented
from service.storage.media_types import media_type
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

    def read() -> bytes:
        file = _vector_file(context.core, video_id, None)
        frame = min(max(0, int(t * file.fps)), file.frames - 1)
        return read_cell(_previews(context.core, file), file.grid_size, frame)

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

    def read() -> bytes:
        file = _vector_file(context.core, video_id, grid_size)
        if number >= file.super_images:
            raise NotFound(
                f"no super image {number}: video '{video_id}' has {file.super_images} at grid "
                f"size {file.grid_size}, numbered from 0"
            )
        return read_preview(_previews(context.core, file), number)

    return _jpeg(await context.read(read))


def _jpeg(picture: bytes) -> Response:
    return Response(picture, headers=FOREVER, media_type="image/jpeg")


def _vector_file(core: AppState, video_id: str, grid_size: int | None) -> VectorFile:
    """The vector file of a grid size, or of the smallest: it says which previews there are."""
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


def _previews(core: AppState, file: VectorFile) -> FilePath:
    return core.media.previews(file.video_id, file.grid_size, file.fps)
