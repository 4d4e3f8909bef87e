"""When each process runs the canary, and what the last runs found.

Each service process has its own index, so each must be checked. They take turns, one at a time, by
a lock and a file of reports under `run/`. Every process reads that file for its metrics page, so
all pages agree.
"""

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import psutil
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError

from qasir.artifacts import atomic_write
from qasir.errors import Conflict, Overloaded
from service.canary.checks import CHECKS, Finding
from service.lock import only_one
from service.observability import metrics
from service.observability.telemetry import GaugeSample
from service.observability.tracing import job_span

REPORTS_NAME = "canary.json"
# How often per interval a process checks whether its turn has come.
LOOKS = 20

log = structlog.get_logger()


class Report(BaseModel):
    """One run: its process, when it began in seconds since 1970, and how many seconds it took."""

    model_config = ConfigDict(frozen=True)

    process: int
    time: float
    seconds: float
    findings: tuple[Finding, ...]


class Reports(BaseModel):
    """The last run of each living process, newest last."""

    reports: tuple[Report, ...]


def read_reports(run: Path) -> Sequence[Report]:
    """Read the reports in this folder, newest last; none where no canary ran yet."""
    try:
        return Reports.model_validate_json((run / REPORTS_NAME).read_bytes()).reports
    except (FileNotFoundError, ValidationError):
        return ()


def canary_gauges(run: Path) -> Iterator[GaugeSample]:
    """Yield the canary's gauges: a check has passed if it has in every process that ran it."""
    reports = read_reports(run)
    if not reports:
        return
    yield GaugeSample(metrics.CANARY_LAST_RUN, reports[-1].time)
    yield GaugeSample(metrics.CANARY_SECONDS, reports[-1].seconds)
    findings = [finding for report in reports for finding in report.findings]
    for check in CHECKS:
        if passed := [finding.passed for finding in findings if finding.check == check]:
            yield GaugeSample(metrics.CANARY_SUCCESS, float(all(passed)), {"check": check})


class CanaryScheduler:
    """A thread that runs the canary of this process when its turn comes."""

    def __init__(
        self,
        run_checks: Callable[[], list[Finding]],
        run: Path,
        interval_seconds: float,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._run_checks = run_checks
        self._run = run
        self._interval_seconds = interval_seconds
        self._clock = clock
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="canary", daemon=True)

    def start(self) -> None:
        """Start the thread; an interval of 0 means never."""
        if self._interval_seconds > 0:
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread; wait a second for a run under way."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(1.0)

    def run_if_due(self) -> bool:
        """Run the canary if it is the turn of this process; return whether it ran."""
        if not self._due():
            return False
        try:
            with only_one(self._run / "canary.lock", "canary"):
                # Another process may have run it before we got the lock.
                if due := self._due():
                    self._report()
                return due
        except Conflict:
            return False
        except Overloaded as error:
            log.info("canary put off", detail=str(error))
            return False

    def _loop(self) -> None:
        while not self._stop.wait(self._interval_seconds / LOOKS):
            try:
                self.run_if_due()
            except Exception:  # a dead canary must not look like a passing one
                log.exception("canary broke")

    def _due(self) -> bool:
        reports = read_reports(self._run)
        if not reports:
            return True
        newest = reports[-1]
        # The process that ran last waits two looks longer, so that every other one goes first.
        looks = 0 if newest.process == os.getpid() else 2
        wait = self._interval_seconds * (1 - looks / LOOKS)
        return not 0 <= self._clock() - newest.time < wait

    def _report(self) -> None:
        began, begin = self._clock(), time.perf_counter()
        with job_span("canary", None):
            findings = self._run_checks()
        seconds = time.perf_counter() - begin
        report = Report(process=os.getpid(), time=began, seconds=seconds, findings=tuple(findings))
        others = [
            other
            for other in read_reports(self._run)
            if other.process != report.process and psutil.pid_exists(other.process)
        ]
        text = Reports(reports=(*others, report)).model_dump_json(indent=1)
        with atomic_write(self._run / REPORTS_NAME) as file:
            file.write(f"{text}\n".encode())
        failed = {finding.check: finding.detail for finding in findings if not finding.passed}
        write = log.error if failed else log.info
        passed = [finding.check for finding in findings if finding.passed]
        write("canary", passed=passed, failed=failed, milliseconds=round(seconds * 1000, 2))
