"""A request has an id, which its caller may choose, in its answer and in every line of its log."""

import json
import re
from typing import Any

import httpx
import pytest

from tests.support.service import RunningService
from tests.support.waiting import wait_for


def lines_of(running: RunningService, request_id: str) -> list[dict[str, Any]]:
    """What the log of the service says of a request, once it says anything."""
    path = running.settings.folders.run / "service.log"

    def found() -> list[dict[str, Any]]:
        # The last line may be in the middle of being written.
        every = [json.loads(line) for line in path.read_text().split("\n")[:-1]]
        return [line for line in every if line.get("request_id") == request_id]

    lines: list[dict[str, Any]] = wait_for(found)
    return lines


def test_a_callers_id_is_kept(running_service: RunningService) -> None:
    sent = {"X-Request-ID": "proxy-1.a_B"}
    answer = running_service.http.get("/v1/videos/v0", headers=sent)
    assert answer.headers["x-request-id"] == "proxy-1.a_B"
    assert "trace_id" not in answer.json()
    (line,) = lines_of(running_service, "proxy-1.a_B")
    assert line["event"] == "request"
    assert (line["operation"], line["transport"]) == ("get_video", "http")
    assert (line["status"], line["code"]) == (404, "not_found")
    assert line["milliseconds"] > 0
    assert "trace_id" not in line


@pytest.mark.parametrize("sent", ["", "two words", "x" * 65, 'a"b', "é"])
def test_what_is_no_id_is_replaced(sent: str, running_service: RunningService) -> None:
    headers = httpx.Headers([(b"X-Request-ID", sent.encode())])
    answer = running_service.http.get("/livez-not", headers=headers)
    made = answer.headers["x-request-id"]
    assert re.fullmatch("[0-9a-f]{32}", made)
    assert lines_of(running_service, made)[0]["operation"] == "other"


def test_every_request_has_another(running_service: RunningService) -> None:
    ids = {running_service.http.get("/v1/jobs").headers["x-request-id"] for _ in range(3)}
    assert len(ids) == 3


def test_bentomls_own_routes_are_counted_and_logged(running_service: RunningService) -> None:
    headers = {"X-Request-ID": "bento-1"}
    answer = running_service.http.post("/search", json={"query": "a dog"}, headers=headers)
    assert answer.status_code == 200
    (line,) = lines_of(running_service, "bento-1")
    assert (line["operation"], line["transport"], line["code"]) == ("search", "bentoml", "ok")
