"""Opaque page tokens: the key after which a page of a list begins."""

import base64
import json
from typing import Annotated, TypeVar

from pydantic import Field, TypeAdapter

from qasir.errors import InvalidInput
from service.catalogue.videos import VideoKey

K = TypeVar("K")

VIDEO_KEY: TypeAdapter[VideoKey] = TypeAdapter(VideoKey)
# SQLite's integers end there.
JOB_KEY: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, lt=1 << 63)])


def write_token(key: object | None) -> str | None:
    """Make a token of a key; None, which no page follows, stays None.

    >>> write_token((1.5, "v0"))
    'WzEuNSwidjAiXQ'
    """
    if key is None:
        return None
    text = json.dumps(key, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(kind: TypeAdapter[K], token: str | None) -> K | None:
    """Read the key of a token; None stands for the first page.

    >>> read_token(VIDEO_KEY, "WzEuNSwidjAiXQ")
    (1.5, 'v0')

    Raises:
        InvalidInput: the token is of another list, or of none.
    """
    if token is None:
        return None
    try:
        padding = "=" * (-len(token) % 4)
        text = base64.b64decode(token + padding, altchars=b"-_", validate=True)
        return kind.validate_json(text, strict=True)
    except ValueError as error:
        raise InvalidInput(
            f"page_token '{token[:40]}' is none of this list; send the next_page_token of the page "
            f"before, or leave it out for the first page"
        ) from error
