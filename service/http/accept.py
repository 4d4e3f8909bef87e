"""An upload, whatever brings it: room in the queue, title, metadata, bytes; then it is a job."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import PurePath
from time import time

import anyio
import anyio.to_thread
from pydantic import JsonValue, TypeAdapter, ValidationError

from qasir.contract.videos import Metadata, Upload, UploadHeader
from qasir.errors import InvalidInput, Overloaded, RequestStalled
from service.app import AppState
from service.catalogue.videos import Details, Video
from service.http.context import Context
from service.observability.tracing import traceparent
from service.settings import UploadSettings
from service.storage.media import ReceivedFile, UploadWriter

# Protobuf parses messages 100 deep, and each level of metadata takes three.
MAX_METADATA_DEPTH = 32
UNTITLED = "untitled"
# Bytes handed to a thread at a time: switching to it costs little beside hashing this much.
PIECE_BYTES = 1 << 20

METADATA: TypeAdapter[Metadata] = TypeAdapter(Metadata)


def check_queue(core: AppState) -> None:
    """Refuse one more job where too many wait already.

    Raises:
        Overloaded: the queue is full.
    """
    waiting, limit = core.catalogue.jobs.queued_count(), core.settings.max_queued_jobs
    if waiting >= limit:
        raise Overloaded(f"{waiting} videos wait to be ingested, the limit is {limit}")


def read_metadata(text: str | None) -> Metadata | None:
    """Parse metadata that is sent as text; None where there is none.

    Raises:
        InvalidInput: it is no JSON object, or cannot be sent back as one.
    """
    if not text:
        return None
    try:
        metadata = METADATA.validate_json(text)
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise InvalidInput(
            f'metadata is no JSON object ({reason}); send {{"key": "value"}}'
        ) from error
    _size(metadata)
    return metadata


def check_header(header: UploadHeader, limits: UploadSettings) -> UploadHeader:
    """Check an upload's title and metadata, and clean the title.

    Raises:
        InvalidInput: one of them is too long, or the metadata cannot be sent back as JSON.
    """
    size, limit = _size(header.metadata or {}), limits.max_metadata_bytes
    if size > limit:
        raise InvalidInput(f"metadata of {size} bytes: the limit is {limit}")
    title, stem = _clean(header.title), _clean(PurePath(header.filename).stem)
    length, limit = len(title or stem), limits.max_title_chars
    if length > limit:
        raise InvalidInput(f"title of {length} characters: the limit is {limit}")
    return header.model_copy(update={"title": title or None, "filename": stem})


@asynccontextmanager
async def receive(context: Context, expected_bytes: int) -> AsyncIterator[UploadWriter]:
    """Open an upload of about this many bytes; leaving the block removes what was not accepted.

    Raises:
        Overloaded: too many uploads are under way, or too many videos wait to be ingested.
        UploadTooLarge, StorageFull: there is no room for it.
    """
    core = context.core

    def begin() -> AbstractContextManager[UploadWriter]:
        check_queue(core)
        return core.media.receive(expected_bytes)

    with context.uploads.acquire(), await context.read(begin) as writer:
        yield writer


def accept(received: ReceivedFile, header: UploadHeader, core: AppState) -> Upload:
    """Acknowledge an upload with a checked header: from here on no crash loses it.

    The same bytes keep their video; a title and metadata that are given replace its own.
    """
    video = Video(
        id=received.video_id,
        title=header.title or header.filename or UNTITLED,
        metadata=header.metadata or {},
        sha256=received.sha256,
        bytes=received.bytes,
        duration=0.0,
        width=0,
        height=0,
        codec="",
        container="",
        state="queued",
        created_at=time(),
    )
    details = Details(header.title, header.metadata)
    accepted = core.media.store(
        received, lambda: core.catalogue.videos.accept(video, details, traceparent())
    )
    return Upload(
        video_id=accepted.video.id,
        job_id=accepted.job.id,
        state=accepted.video.state,
        existing=not accepted.is_new,
        updated=accepted.is_updated,
    )


async def write_pieces(
    chunks: AsyncIterator[bytes], write: Callable[[bytes], object], *, resumable: bool = False
) -> None:
    """Pass chunks to `write` in a thread, in pieces of a MiB.

    resumable: what has arrived is written even if the rest does not come.
    """
    pending = bytearray()
    complete = False
    try:
        async for chunk in chunks:
            pending += chunk
            if len(pending) >= PIECE_BYTES:
                piece, pending = bytes(pending), bytearray()
                await anyio.to_thread.run_sync(write, piece)
        complete = True
    finally:
        if complete or resumable:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(write, bytes(pending))


def too_slow(seconds: float) -> RequestStalled:
    """Make the error of an upload that takes too long."""
    return RequestStalled(
        f"the upload took more than {seconds:.0f} s; use a faster connection or raise "
        f"QASIR_UPLOAD_SECONDS"
    )


def _clean(title: str | None) -> str:
    printable = "".join(char if char.isprintable() else " " for char in title or "")
    return " ".join(printable.split())


def _size(metadata: Metadata) -> int:
    """Count the bytes of metadata as JSON; refuse what cannot be sent back."""
    if _depth(metadata) > MAX_METADATA_DEPTH:
        raise InvalidInput(f"metadata is nested more than {MAX_METADATA_DEPTH} levels deep")
    try:
        # Lone surrogates, infinities and NaN.
        return len(json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode())
    except ValueError as error:
        raise InvalidInput(f"metadata is no plain JSON: {error}") from error


def _depth(value: JsonValue) -> int:
    if isinstance(value, dict):
        value = list(value.values())
    return 1 + max(map(_depth, value), default=-1) if isinstance(value, list) else 0
