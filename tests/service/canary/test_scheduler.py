"""Processes take turns at the canary, and every one of them tells what all have found."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from qasir.errors import Overloaded
from service.canary.checks import Finding
from service.canary.scheduler import (
    REPORTS_NAME,
    CanaryScheduler,
    Report,
    Reports,
    canary_gauges,
    read_reports,
)
from service.lock import only_one
from tests.support.service import RunningService
from tests.support.waiting import wait_for

INTERVAL = 60.0
PASSED = Finding("text", passed=True, detail="")
FAILED = Finding("image", passed=False, detail="broken")


class Scripted:
    """Finds what the test says; whose turn it is does not depend on it."""

    def __init__(self, *findings: Finding, busy: bool = False) -> None:
        self.findings = findings
        self.busy = busy
        self.runs = 0

    def __call__(self) -> list[Finding]:
        self.runs += 1
        if self.busy:
            raise Overloaded("the queue is full")
        return list(self.findings)


def leave(run: Path, *reports: tuple[int, float, Sequence[Finding]]) -> None:
    told = [Report(process=p, time=t, seconds=1, findings=tuple(f)) for p, t, f in reports]
    (run / REPORTS_NAME).write_text(Reports(reports=tuple(told)).model_dump_json())


def gauges(run: Path) -> dict[str, float]:
    return {
        reading.metric.name.removeprefix("qasir_canary_") + "".join(reading.labels.values()): (
            reading.value
        )
        for reading in canary_gauges(run)
    }


def test_nothing_ran_yet(tmp_path: Path) -> None:
    assert gauges(tmp_path) == {}
    assert CanaryScheduler(Scripted(PASSED), tmp_path, INTERVAL, lambda: 5.0).run_if_due()
    assert gauges(tmp_path)["successtext"] == 1
    assert gauges(tmp_path)["last_run_timestamp_seconds"] == 5.0


@pytest.mark.parametrize(
    ("mine", "age", "due"),
    [(True, 59, False), (True, 60, True), (False, 53, False), (False, 55, True), (True, -9, True)],
)
def test_others_go_first(mine: bool, age: float, due: bool, tmp_path: Path) -> None:
    """A clock that was set back must not stop the canary either."""
    leave(tmp_path, (os.getpid() if mine else 1, 1000.0, [PASSED]))
    scheduler = CanaryScheduler(Scripted(PASSED), tmp_path, INTERVAL, lambda: 1000.0 + age)
    assert scheduler.run_if_due() == due


def test_one_at_a_time(tmp_path: Path) -> None:
    canary = Scripted(PASSED)
    scheduler = CanaryScheduler(canary, tmp_path, INTERVAL)
    with only_one(tmp_path / "canary.lock", "canary"):
        assert not scheduler.run_if_due()
    assert canary.runs == 0


def test_one_broken_process_is_not_hidden_by_a_sound_one(tmp_path: Path) -> None:
    leave(tmp_path, (1, 10.0, [PASSED, FAILED]))
    sound = Finding("image", passed=True, detail="")
    CanaryScheduler(Scripted(PASSED, sound), tmp_path, INTERVAL, lambda: 99.0).run_if_due()
    assert gauges(tmp_path)["successtext"] == 1
    assert gauges(tmp_path)["successimage"] == 0
    assert "successpair" not in gauges(tmp_path)


def test_a_dead_process_is_forgotten(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leave(tmp_path, (ended.pid, 10.0, [FAILED]))
    CanaryScheduler(Scripted(PASSED), tmp_path, INTERVAL, lambda: 99.0).run_if_due()
    assert "successimage" not in gauges(tmp_path)


def test_too_much_to_do_is_no_news(tmp_path: Path) -> None:
    assert not CanaryScheduler(Scripted(busy=True), tmp_path, INTERVAL).run_if_due()
    assert read_reports(tmp_path) == ()


def test_a_broken_report_is_none(tmp_path: Path) -> None:
    (tmp_path / REPORTS_NAME).write_text("{")
    assert CanaryScheduler(Scripted(PASSED), tmp_path, INTERVAL).run_if_due()


def told(running: RunningService, check: str) -> float | None:
    """What the metrics page says of a check."""
    for family in text_string_to_metric_families(running.http.get("/metrics").text):
        for sample in family.samples:
            if sample.name == "qasir_canary_success" and sample.labels["check"] == check:
                return sample.value
    return None


def test_a_running_service_tells_sound_from_broken(running_service: RunningService) -> None:
    """Both processes had a turn, with what the worker stored; then a known pair goes wrong."""
    settings = running_service.settings
    running_service.ingested()
    wait_for(lambda: len(read_reports(settings.folders.run)) == settings.workers)
    wait_for(lambda: told(running_service, "image") == 1)
    assert told(running_service, "text") == 1
    try:
        best = running_service.search("a dog")["results"][0]["video"]["id"]
        settings.canary_path.write_text(f"pairs: [{{query: a dog, video: {best}, within: 20}}]")
        wait_for(lambda: told(running_service, "pair") == 1)
        settings.canary_path.write_text("pairs: [{query: a dog, video: vnobody}]")
        wait_for(lambda: told(running_service, "pair") == 0)
    finally:
        settings.canary_path.unlink()
    wait_for(lambda: told(running_service, "pair") is None)


def test_vectors_mixed_up_on_disk_show(running_service: RunningService) -> None:
    """Two videos' files change places while the service is down; it says so when it is back."""
    folders = running_service.settings.folders
    one, other = (_vectors(running_service, running_service.ingested(n)) for n in (4.0, 12.0))
    held = one.read_bytes(), other.read_bytes()
    wait_for(lambda: told(running_service, "image") == 1)
    try:
        running_service.kill(running_service.service)
        one.write_bytes(held[1])
        other.write_bytes(held[0])
        running_service.start(running_service.service)
        wait_for(lambda: told(running_service, "image") == 0)
    finally:
        one.write_bytes(held[0])
        other.write_bytes(held[1])
        running_service.kill(running_service.service)
        (folders.run / REPORTS_NAME).unlink()
        running_service.start(running_service.service)
    wait_for(lambda: told(running_service, "image") == 1)


def _vectors(running: RunningService, video_id: str) -> Path:
    (path,) = (running.settings.folders.vectors / video_id).glob("*.npz")
    return path
