"""Bytes of an upload on their way to the disk, for every transport."""

from collections.abc import AsyncIterator, Callable

import anyio
import anyio.to_thread

# Bytes handed to a thread at a time: switching to it costs little beside hashing this much.
PIECE_BYTES = 1 << 20


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
