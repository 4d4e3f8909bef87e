"""A service that is told to stop: not ready at first, then without requests, then gone."""

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import httpx_sse
import psutil
import pytest

from service.http import tus
from tests.support.service import RunningService
from tests.support.triton import RunningTriton
from tests.support.waiting import wait_for

SPEAK = {"Tus-Resumable": "1.0.0"}


def url_of(service: RunningService) -> str:
    return f"http://{service.settings.host}:{service.settings.http_port}"


def terminate(service: RunningService) -> psutil.Process:
    leader = service.service.leader()
    assert leader is not None
    leader.terminate()
    return leader


class Sending:
    """A PATCH that sends its bytes slowly, in a thread."""

    def __init__(self, url: str, pieces: int) -> None:
        head = {**SPEAK, "Upload-Length": str(pieces)}
        location = httpx.post(f"{url}/v1/uploads", headers=head).headers["location"]
        self.location = f"{url}{location}"
        self.answer: httpx.Response | None = None
        self.sent = 0
        self._pieces = pieces
        self._thread = threading.Thread(target=self._send)
        self._thread.start()
        wait_for(lambda: self.sent > 1)

    def join(self) -> None:
        self._thread.join(30)

    def _body(self) -> Iterator[bytes]:
        for _ in range(self._pieces):
            time.sleep(0.25)
            self.sent += 1
            yield b"x"

    def _send(self) -> None:
        head = {**SPEAK, "Upload-Offset": "0", "Content-Type": tus.BODY_TYPE}
        try:
            self.answer = httpx.patch(self.location, content=self._body(), headers=head, timeout=30)
        except httpx.TransportError:
            self.answer = None


def test_readiness_goes_first_and_requests_are_let_finish(running_service: RunningService) -> None:
    url = url_of(running_service)
    running_service.kill(running_service.worker)
    waiting = running_service.upload(running_service.new_video()).json()
    heard: list[str] = []
    ended: list[float] = []

    def listen() -> None:
        with (
            httpx.Client(base_url=url, timeout=30) as http,
            httpx_sse.connect_sse(http, "GET", f"/v1/jobs/{waiting['job_id']}/events") as source,
        ):
            heard.extend(event.id for event in source.iter_sse())
        ended.append(time.monotonic())

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        sending = Sending(url, pieces=14)
        began = time.monotonic()
        leader = terminate(running_service)
        wait_for(lambda: httpx.get(f"{url}/readyz", verify=False).status_code == 503, seconds=1)
        # A load balancer that has not heard yet still gets its answers.
        assert httpx.get(f"{url}/v1/jobs/{waiting['job_id']}").json()["state"] == "queued"
        listener.join(10)
        assert heard == ["queued"]
        assert ended[0] - began < 3
        sending.join()
        assert sending.answer is not None
        assert (sending.answer.status_code, sending.answer.headers["upload-offset"]) == (204, "14")
        leader.wait(15)
        wait_for(lambda: not running_service.service.members())
    finally:
        running_service.service.stop()
        running_service.start(running_service.worker)
        running_service.start(running_service.service)
    assert running_service.finished(waiting["job_id"])["state"] == "ready"
    httpx.delete(sending.location, headers=SPEAK)


def test_requests_that_do_not_end_are_cancelled(
    running_service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bound on draining; the bytes of a resumable upload are kept nevertheless."""
    settings = running_service.settings.model_copy(update={"drain_seconds": 1.0})
    monkeypatch.setenv("QASIR_DRAIN_SECONDS", str(settings.drain_seconds))
    running_service.service.stop()
    running_service.start(running_service.service)
    url = url_of(running_service)
    try:
        sending = Sending(url, pieces=60)
        began = time.monotonic()
        terminate(running_service)
        wait_for(lambda: not running_service.service.members())
        assert time.monotonic() - began < 8
        sending.join()
        assert sending.answer is None or sending.answer.status_code == 503
    finally:
        running_service.service.stop()
        monkeypatch.delenv("QASIR_DRAIN_SECONDS")
        running_service.start(running_service.service)
    kept = httpx.head(sending.location, headers=SPEAK).headers["upload-offset"]
    assert 4 <= int(kept) <= 20
    httpx.delete(sending.location, headers=SPEAK)


def test_triton_that_comes_back_is_found_without_help(
    running_service: RunningService, triton_server: RunningTriton
) -> None:
    running_service.ingested()
    asked: dict[str, Any] = {"query": "a car of the house"}
    triton_server.kill()
    try:
        refused = running_service.http.post("/v1/search", json=asked)
        assert (refused.status_code, refused.json()["retryable"]) == (503, True)
        assert int(refused.headers["retry-after"]) > 0
    finally:
        triton_server.restart()
    again = wait_for(lambda: searched(running_service, asked))
    assert again["results"]


def searched(service: RunningService, asked: dict[str, Any]) -> Any:
    answer = service.http.post("/v1/search", json=asked)
    return answer.json() if answer.status_code == 200 else None
