"""A video's file as an answer: whole, or by Range."""

from http import HTTPStatus

from fastapi.responses import FileResponse
from starlette.exceptions import HTTPException
from starlette.types import Message, Receive, Scope, Send


class MediaFile(FileResponse):
    """A file whose refusals of a Range are problems, as all of the service's are."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file.

        Raises:
            HTTPException: the Range is malformed (400) or outside the file (416).
        """

        async def pass_on(message: Message) -> None:
            # Starlette answers these in plain text. Nothing has been sent yet.
            if message.get("status", HTTPStatus.OK) >= HTTPStatus.BAD_REQUEST:
                headers = {key.decode(): value.decode() for key, value in message["headers"]}
                range_of = headers.get("content-range")
                kept = {"Content-Range": range_of} if range_of else None
                raise HTTPException(message["status"], headers=kept)
            await send(message)

        await super().__call__(scope, receive, pass_on)
