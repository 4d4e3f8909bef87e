"""Headers of tus 1.0.0, the protocol of resumable uploads (https://tus.io)."""

import base64
import binascii
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from qasir.errors import InvalidInput, QasirError, UnsupportedProtocol
from service.http.problems import CODE_KEY, problem_response

VERSION = "1.0.0"
EXTENSIONS = "creation,termination,expiration"
BODY_TYPE = "application/offset+octet-stream"
# Room for a title and metadata in base64; their own limits are checked later.
MAX_METADATA_CHARS = 64 << 10


class TusRoute(APIRoute):
    """A route that accepts this version of tus only, and names it in every answer."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_tus(request: Request) -> Response:
            version = request.headers.get("tus-resumable")
            try:
                if request.method != "OPTIONS" and version != VERSION:
                    refused = f"Tus-Resumable: {str(version)[:40]}; this is tus {VERSION}"
                    raise UnsupportedProtocol(refused)
                answer = await handle(request)
            except QasirError as error:
                request.scope[CODE_KEY] = error.code
                answer = problem_response(error)
            answer.headers["Tus-Resumable"] = VERSION
            answer.headers["Tus-Version"] = VERSION
            return answer

        return handle_tus


def read_count(headers: Mapping[str, str], name: str) -> int:
    """Read a header that holds a number of bytes.

    Raises:
        InvalidInput: it is missing, or no number.
    """
    value = headers.get(name, "")
    if not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise InvalidInput(f"{name}: '{value[:40]}'; send a number of bytes")
    return int(value)


def read_metadata(header: str) -> dict[str, str]:
    """Read the pairs of an Upload-Metadata header.

    >>> read_metadata("filename ZG9nLm1wNA==,is_private")
    {'filename': 'dog.mp4', 'is_private': ''}

    Raises:
        InvalidInput: it is too long, or a value is not UTF-8 in base64.
    """
    if len(header) > MAX_METADATA_CHARS:
        raise InvalidInput(
            f"Upload-Metadata of {len(header)} characters: the limit is {MAX_METADATA_CHARS}"
        )
    pairs = (pair.strip().partition(" ") for pair in header.split(",") if pair.strip())
    return {key: _decoded(key, value) for key, _, value in pairs}


def _decoded(key: str, value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InvalidInput(f"Upload-Metadata '{key[:40]}' is not UTF-8 in base64") from error
