"""A video's file as a response: whole, or by Range."""

import os
from http import HTTPStatus

import anyio.to_thread
from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send

from qasir.errors import NotFound


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
