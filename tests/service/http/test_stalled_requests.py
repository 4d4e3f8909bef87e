"""A client that falls silent is answered, and gives its place back."""

from collections.abc import AsyncIterator

import anyio
import pytest

from service.app import open_service
from service.settings import Settings
from tests.support.site import Site

FORM = "multipart/form-data; boundary=x"
PART = b'--x\r\nContent-Disposition: form-data; name="video"; filename="a.mp4"\r\n\r\nhalf'


@pytest.mark.parametrize(
    ("path", "content_type", "begin"),
    [("/v1/search", "application/json", b'{"query"'), ("/v1/videos", FORM, PART)],
)
def test_a_body_that_stops_coming_is_given_up(
    limited: Settings, path: str, content_type: str, begin: bytes
) -> None:
    core = open_service(limited.model_copy(update={"request_stall_seconds": 0.1}))
    site = Site(core)

    async def body() -> AsyncIterator[bytes]:
        yield begin
        await anyio.sleep(30)

    answer = site.ask("POST", path, content=body(), headers={"content-type": content_type})
    core.close()
    assert (answer.status_code, answer.json()["code"]) == (408, "request_timeout")
    assert list(limited.folders.uploads.glob("*.part")) == []
