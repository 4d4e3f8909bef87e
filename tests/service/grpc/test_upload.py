"""An upload over gRPC at its edges: what is no video, stops coming, or is too long a message."""

import threading
from collections.abc import Iterator
from typing import Any

import anyio.to_thread
import pytest

from qasir.v1 import retrieval_pb2 as pb
from service.app import AppState, open_service
from service.grpc.server import MAX_MESSAGE_BYTES
from service.http.context import open_context
from service.settings import Settings
from tests.support.retrieval import Refusal, new_stub, outcome, refused, serve

HEADER = pb.UploadVideoRequest(header=pb.UploadHeader(filename="a.mp4"))
CHUNK = pb.UploadVideoRequest(chunk=b"x")


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        ([], "invalid_input"),
        ([CHUNK], "invalid_input"),
        ([pb.UploadVideoRequest()], "invalid_input"),
        ([HEADER], "invalid_input"),
        ([HEADER, HEADER], "invalid_input"),
        ([HEADER, CHUNK, pb.UploadVideoRequest()], "invalid_input"),
        (
            [pb.UploadVideoRequest(header=pb.UploadHeader(expected_bytes=1 << 40))],
            "upload_too_large",
        ),
        ([pb.UploadVideoRequest(header=pb.UploadHeader(expected_bytes=-1)), CHUNK], "ok"),
    ],
    ids=["nothing", "no header", "no part", "no bytes", "two headers", "odd", "huge", "negative"],
)
def test_uploads_that_are_none(
    core: AppState, messages: list[pb.UploadVideoRequest], code: str
) -> None:
    async def ask(stub: Any) -> tuple[str, str, dict[str, str]]:
        return await outcome(stub.UploadVideo(iter(messages)))

    _, said, _ = serve(open_context(core), ask)
    assert said == code
    assert list(core.settings.folders.uploads.glob("*.part")) == []


@pytest.mark.parametrize(
    ("limits", "sent"),
    [({"request_stall_seconds": 0.1}, "once"), ({"upload_seconds": 0.2}, "slowly")],
)
def test_an_upload_that_stops_coming_is_given_up(
    limited: Settings, limits: dict[str, float], sent: str
) -> None:
    core = open_service(limited.model_copy(update=limits))
    ended = threading.Event()

    def messages() -> Iterator[pb.UploadVideoRequest]:
        yield HEADER
        while not ended.is_set():
            yield CHUNK
            ended.wait(30 if sent == "once" else 0.05)

    # A blocking client: where a write fails because the call has ended, the asyncio client
    # replaces the server's status by INTERNAL (https://github.com/grpc/grpc/issues/36066).
    def upload() -> Refusal:
        try:
            with new_stub(core.settings) as stub:
                return refused(lambda: stub.UploadVideo(messages()))
        finally:
            ended.set()

    answer = serve(open_context(core), lambda _: anyio.to_thread.run_sync(upload))
    core.close()
    assert (answer.status.name, answer.code) == ("DEADLINE_EXCEEDED", "request_timeout")
    assert list(limited.folders.uploads.glob("*.part")) == []


def test_a_message_is_bounded(core: AppState) -> None:
    longer = pb.UploadVideoRequest(chunk=bytes(MAX_MESSAGE_BYTES))

    async def ask(stub: Any) -> tuple[str, str, dict[str, str]]:
        return await outcome(stub.UploadVideo(iter([HEADER, longer])))

    assert serve(open_context(core), ask)[0] == "RESOURCE_EXHAUSTED"
