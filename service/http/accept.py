"""What decides on an upload: room in the queue, its title and metadata; then it is a job."""

import json
from collections.abc import AsyncIterator, Iterable
from contextlib import AbstractContextManager, asynccontextmanager
from pathlib import PurePath
from time import time

from pydantic import JsonValue

from qasir.contract.videos import Metadata, Upload, UploadHeader
from qasir.errors import InvalidInput, Overloaded, RequestStalled
from service.app import AppState
from service.catalogue.videos import Details, Video
from service.http.context import Context
from service.observability.tracing import traceparent
from service.settings import Settings
from service.storage.media import ReceivedFile, UploadWriter

# Protobuf parses messages 100 deep, and each level of metadata takes three.
MAX_METADATA_DEPTH = 32
UNTITLED = "untitled"


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
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"metadata is no JSON ({error}); send an object") from error
    if not isinstance(value, dict):
        raise InvalidInput(f'metadata is {text[:40]}, no JSON object; send {{"key": "value"}}')
    _size(value)
    return value


def check_header(header: UploadHeader, settings: Settings) -> UploadHeader:
    """Check an upload's title and metadata, and clean the title.

    Raises:
        InvalidInput: one of them is too long, or the metadata cannot be sent back as JSON.
    """
    size, limit = _size(header.metadata or {}), settings.max_metadata_bytes
    if size > limit:
        raise InvalidInput(f"metadata of {size} bytes: the limit is {limit}")
    title, stem = _clean(header.title), _clean(PurePath(header.filename).stem)
    length, limit = len(title or stem), settings.max_title_chars
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
    accepted = core.media.keep(
        received, lambda: core.catalogue.videos.accept(video, details, traceparent())
    )
    return Upload(
        video_id=accepted.video.id,
        job_id=accepted.job.id,
        state=accepted.video.state,
        existing=not accepted.is_new,
        updated=accepted.is_updated,
    )


def too_slow(seconds: float) -> RequestStalled:
    """The error of an upload that takes longer than it may."""
    return RequestStalled(
        f"the upload took more than {seconds:.0f} s; use a faster connection or raise "
        f"QASIR_UPLOAD_SECONDS"
    )


def _clean(title: str | None) -> str:
    printable = "".join(char if char.isprintable() else " " for char in title or "")
    return " ".join(printable.split())


def _size(metadata: Metadata) -> int:
    """The bytes of metadata as JSON; what cannot be sent back is refused now."""
    if _is_deep(metadata):
        raise InvalidInput(f"metadata is nested more than {MAX_METADATA_DEPTH} levels deep")
    try:
        # Lone surrogates, infinities and NaN.
        return len(json.dumps(metadata, allow_nan=False, ensure_ascii=False).encode())
    except ValueError as error:
        raise InvalidInput(f"metadata is no plain JSON: {error}") from error


def _is_deep(metadata: Metadata) -> bool:
    level: list[JsonValue] = [metadata]
    for _ in range(MAX_METADATA_DEPTH + 1):
        level = [inner for value in level for inner in _inner(value)]
    return bool(level)


def _inner(value: JsonValue) -> Iterable[JsonValue]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
