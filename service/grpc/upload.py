"""An upload that comes as messages: a header, then the file in pieces, straight to disk."""

import asyncio
from collections.abc import AsyncIterator

import anyio.to_thread

from qasir.contract.videos import Upload, UploadHeader
from qasir.errors import InvalidInput, RequestStalled
from qasir.v1 import retrieval_pb2 as pb
from service.grpc.messages import read
from service.http.accept import accept, check_header, receive, too_slow
from service.http.context import Context
from service.http.pieces import write_pieces

Requests = AsyncIterator[pb.UploadVideoRequest]


async def upload_video(requests: Requests, context: Context) -> Upload:
    """Receive a video and acknowledge it.

    Raises:
        InvalidInput: no header first, a second one, no bytes, or a bad title or metadata.
        RequestStalled: no next message for too long, or not all of them in time.
        Overloaded, UploadTooLarge, StorageFull: there is no room for it.
    """
    core, limits = context.core, context.core.settings
    messages = _in_time(requests, limits.request_stall_seconds, limits.upload_seconds)
    # What can be refused is refused before the bytes are sent.
    header = check_header(await _header(messages), limits)
    async with receive(context, header.expected_bytes or 0) as writer:
        await write_pieces(_chunks(messages), writer.write)
        received = await anyio.to_thread.run_sync(writer.finish)
        return await context.read(lambda: accept(received, header, core))


async def _header(messages: Requests) -> UploadHeader:
    first = await anext(messages, None)
    if first is None or first.WhichOneof("part") != "header":
        raise InvalidInput("the first message holds no header; send one, then the file in chunks")
    return read(UploadHeader, first.header)


async def _chunks(messages: Requests) -> AsyncIterator[bytes]:
    async for message in messages:
        if message.WhichOneof("part") != "chunk":
            raise InvalidInput("a message after the first holds no chunk; send one video per call")
        yield message.chunk


async def _in_time(requests: Requests, stall_seconds: float, seconds: float) -> Requests:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    while True:
        until = min(end, loop.time() + stall_seconds)
        try:
            async with asyncio.timeout_at(until):
                message = await anext(requests, None)
        except TimeoutError as error:
            stalled = RequestStalled(f"nothing came for {stall_seconds:g} s; send the video again")
            raise (too_slow(seconds) if until == end else stalled) from error
        if message is None:
            return
        yield message
