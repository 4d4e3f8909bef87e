"""The words of tus 1.0.0, the protocol of resumable uploads (https://tus.io)."""

import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping
from email.utils import formatdate
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from qasir.errors import InvalidInput, QasirError, UnsupportedProtocol
from service.http.problems import CODE_KEY, problem_response

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,expiration"
BODY_TYPE = "application/offset+octet-stream"
# Room for a title and metadata, which are checked themselves, in base64.
MAX_METADATA_CHARS = 64 << 10

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class TusRoute(APIRoute):
    """A route that speaks this version only, and says so in every answer."""

    def get_route_handler(self) -> Handler:
        """Wrap the route's handler."""
        handle = super().get_route_handler()

        async def speak(request: Request) -> Response:
            try:
                _check_version(request)
                answer = await handle(request)
            except QasirError as error:
                request.scope[CODE_KEY] = error.code
                answer = problem_response(error)
            answer.headers["Tus-Resumable"] = VERSION
            answer.headers["Tus-Version"] = VERSION
            return answer

        return speak


def _check_version(request: Request) -> None:
    said = request.headers.get("tus-resumable")
    if request.method != "OPTIONS" and said != VERSION:
        raise UnsupportedProtocol(f"Tus-Resumable: {str(said)[:40]}; this is tus {VERSION}")


def count(headers: Mapping[str, str], name: str) -> int:
    """A header that holds a number of bytes.

    Raises:
        InvalidInput: it is missing or something else.
    """
    said = headers.get(name, "")
    if not (said.isascii() and said.isdecimal() and len(said) < 20):
        raise InvalidInput(f"{name}: '{said[:40]}'; send a number of bytes")
    return int(said)


def read_metadata(said: str) -> dict[str, str]:
    """The pairs of an Upload-Metadata header.

    >>> read_metadata("filename ZG9nLm1wNA==,is_private")
    {'filename': 'dog.mp4', 'is_private': ''}

    Raises:
        InvalidInput: it is too long, or a value is not UTF-8 in base64.
    """
    if len(said) > MAX_METADATA_CHARS:
        raise InvalidInput(
            f"Upload-Metadata of {len(said)} characters: the limit is {MAX_METADATA_CHARS}"
        )
    pairs = (pair.strip().partition(" ") for pair in said.split(",") if pair.strip())
    return {key: _decoded(key, value) for key, _, value in pairs}


def _decoded(key: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"Upload-Metadata '{key[:40]}' is not UTF-8 in base64") from error


def http_time(seconds: float) -> str:
    """A time in seconds since 1970, as a header says it.

    >>> http_time(0)
    'Thu, 01 Jan 1970 00:00:00 GMT'
    """
    return formatdate(seconds, usegmt=True)
