"""An upload that comes as messages: a header, then the file in pieces, straight to disk."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import ExitStack

import anyio.to_thread

from qasir.errors import InvalidInput, RequestStalled
from qasir.proto.plain import plain
from qasir.proto.v1 import retrieval_pb2 as pb
from service.catalogue.videos import Accepted
from service.http.context import Context
from service.http.multipart import PIECE_BYTES
from service.storage.media import UploadWriter

Requests = AsyncIterator[pb.UploadVideoRequest]


async def accept(requests: Requests, context: Context) -> Accepted:
    """Receive a video and acknowledge it.

    Raises:
        InvalidInput: no header first, a second one, no bytes, or a bad title or metadata.
        RequestStalled: no next message for too long, or not all of them in time.
        Overloaded, UploadTooLarge, StorageFull: there is no room for it.
    """
    videos, limits = context.core.videos, context.core.settings
    messages = _in_time(requests, limits.request_stall_seconds, limits.upload_seconds)
    header = await _header(messages)
    # What can be refused at once is not sent first.
    title = videos.title(header.title if header.HasField("title") else None, header.filename)
    metadata = videos.metadata(json.dumps(plain(header).get("metadata", {})))
    with context.uploads.place(), ExitStack() as stack:
        room = await context.read(lambda: videos.receive(header.expected_bytes))
        reception = stack.enter_context(room)
        await _receive(messages, reception)
        received = await anyio.to_thread.run_sync(reception.finish)
        return await context.read(lambda: videos.keep(received, title, metadata))


async def _header(messages: Requests) -> pb.UploadHeader:
    first = await anext(messages, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidInput("the first message holds no header; send one, then the file in chunks")
    return first.header


async def _receive(messages: Requests, reception: UploadWriter) -> None:
    pending = bytearray()
    async for message in messages:
        if message.WhichOneof("part") != "chunk":
            raise InvalidInput("a message after the first holds no chunk; send one video per call")
        pending += message.chunk
        if len(pending) >= PIECE_BYTES:
            await anyio.to_thread.run_sync(reception.write, bytes(pending))
            pending.clear()
    await anyio.to_thread.run_sync(reception.write, bytes(pending))


async def _in_time(requests: Requests, stall_seconds: float, seconds: float) -> Requests:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        until = min(end, loop.time() + stall_seconds)
        try:
            async with asyncio.timeout_at(until):
                message = await anext(requests, None)
        except TimeoutError as error:
            raise _late(until == end, seconds, stall_seconds) from error
        if message is None:
            return
        yield message


def _late(is_end: bool, seconds: float, stall_seconds: float) -> RequestStalled:
    if is_end:
        return RequestStalled(
            f"the upload took more than {seconds:.0f} s; use a faster connection "
            f"or raise QASIR_UPLOAD_SECONDS"
        )
    return RequestStalled(f"nothing came for {stall_seconds:g} s; send the video again")
