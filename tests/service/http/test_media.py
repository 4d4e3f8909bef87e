"""Files by HTTP: ranges are served as RFC 9110 says, and refused as problems."""

from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from fastapi import FastAPI
from fastapi.responses import FileResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.http.media import MediaFile
from service.http.problems import PROBLEM_TYPE, install

CONTENT = bytes(range(100))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "original"
    path.write_bytes(CONTENT)
    return path


@pytest.fixture
def app(path: Path) -> FastAPI:
    made = FastAPI()
    install(made)

    @made.head("/file")
    @made.get("/file", response_class=FileResponse)
    async def file() -> FileResponse:
        return MediaFile(path, media_type="video/mp4")

    return made


def ask(app: ASGIApp, method: str, headers: dict[str, str]) -> httpx.Response:
    async def run() -> httpx.Response:
        transport: Any = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://site") as http:
            return await http.request(method, "/file", headers=headers)

    return anyio.run(run)


@pytest.mark.parametrize(
    ("wanted", "status", "content"),
    [
        (None, 200, CONTENT),
        ("bytes=10-19", 206, CONTENT[10:20]),
        ("bytes=90-", 206, CONTENT[90:]),
        ("bytes=-7", 206, CONTENT[-7:]),
        ("bytes=95-1000", 206, CONTENT[95:]),
    ],
)
def test_ranges(app: FastAPI, wanted: str | None, status: int, content: bytes) -> None:
    headers = {} if wanted is None else {"range": wanted}
    answer = ask(app, "GET", headers)
    assert (answer.status_code, answer.content) == (status, content)
    head = ask(app, "HEAD", headers)
    assert (head.status_code, head.content) == (status, b"")
    assert head.headers["content-length"] == str(len(content))


@pytest.mark.parametrize(
    ("wanted", "status"),
    [("bytes=100-", 416), ("bytes=5-2", 400), ("bytes=a", 400), ("lines=1-2", 400)],
)
def test_refusals_are_problems(app: FastAPI, wanted: str, status: int) -> None:
    answer = ask(app, "GET", {"range": wanted})
    assert (answer.status_code, answer.json()["code"]) == (status, "invalid_input")
    assert answer.headers["content-type"] == PROBLEM_TYPE
    assert answer.headers.get("content-range") == ("bytes */100" if status == 416 else None)


@pytest.mark.parametrize("wanted", ["bytes=10-19", "bytes=0-1,98-99", None])
def test_a_delete_leaves_an_answer_that_has_begun_whole(
    app: FastAPI, path: Path, wanted: str | None
) -> None:
    async def deleting(scope: Scope, receive: Receive, send: Send) -> None:
        async def delete_first(message: Message) -> None:
            path.unlink(missing_ok=True)
            await send(message)

        await app(scope, receive, delete_first)

    headers = {} if wanted is None else {"range": wanted}
    kept = ask(app, "GET", headers)
    answer = ask(deleting, "GET", headers)
    assert not path.exists()
    assert answer.status_code == kept.status_code
    assert len(answer.content) == len(kept.content)


def test_what_a_delete_took_before_is_not_found(app: FastAPI, path: Path) -> None:
    path.unlink()
    for method in ("GET", "HEAD"):
        assert ask(app, method, {}).status_code == 404
    assert ask(app, "GET", {}).json()["code"] == "not_found"
