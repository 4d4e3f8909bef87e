"""Metrics: bounded labels, one page for several processes, stages that add up; requests: their id.

A caller may choose the id of its request; it is in the answer and in every line of the log.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from service.observability import metrics
from service.observability.metrics import METRICS, OTHER
from service.observability.telemetry import GaugeSample, Stopwatch, Telemetry
from tests.support.service import RunningService
from tests.support.waiting import wait_for

CHILD = """
from service.observability.metrics import SEARCH_SECONDS, SERVICE_METRICS
from service.observability.telemetry import Telemetry
telemetry = Telemetry(SERVICE_METRICS)
telemetry.observe(SEARCH_SECONDS, 0.01, mode="fast", grid_size="2")
"""


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def test_unknown_label_values_become_other() -> None:
    telemetry = Telemetry(METRICS)
    telemetry.count(metrics.JOB_FAILURES, code="v1234567890")
    assert samples(telemetry.page())["qasir_job_failures_total", (("code", OTHER),)] == 1


def test_a_histogram_needs_no_labels() -> None:
    telemetry = Telemetry(METRICS)
    telemetry.observe(metrics.JOB_WAIT_SECONDS, 2.5)
    page = samples(telemetry.page())
    assert page["qasir_job_wait_seconds_sum", ()] == 2.5
    assert page["qasir_job_wait_seconds_bucket", (("le", "1.0"),)] == 0
    assert page["qasir_job_wait_seconds_bucket", (("le", "5.0"),)] == 1


def test_failures_are_told_before_the_first() -> None:
    page = samples(Telemetry(METRICS).page())
    for code in metrics.JOB_FAILURES.labels["code"]:
        assert page["qasir_job_failures_total", (("code", code),)] == 0


def test_gauges_are_read_when_asked() -> None:
    telemetry = Telemetry(METRICS)
    for count in (1, 7):
        page = telemetry.page([GaugeSample(metrics.INDEX_VIDEOS, count)])
        assert samples(page)["qasir_index_videos", ()] == count


def test_page_adds_up_all_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    for _ in range(2):
        subprocess.run([sys.executable, "-c", CHILD], check=True)
    labels = (("grid_size", "2"), ("mode", "fast"))
    assert samples(Telemetry(()).page())["qasir_search_seconds_count", labels] == 2


def test_stopwatch_adds_up_stages() -> None:
    now = iter([0.0, 1.0, 3.0, 10.0, 14.0, 20.0])
    watch = Stopwatch(lambda: next(now))
    for _ in range(2):
        with watch.stage("encode"):
            pass
    assert watch.seconds == {"encode": 6.0}
    assert watch.total == 20.0


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
