"""Uploads with a progress bar for each video: sent, then encoded, then searchable."""

import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from qasir.client import FINAL, POLL_SECONDS, Client
from qasir.errors import Overloaded, QasirError
from qasir.results import Job

# Of a bar: sending the bytes, and then the job.
SENT_SHARE = 0.2
BUSY_SECONDS = 2.0


def ingest_files(client: Client, paths: Sequence[Path], console: Console) -> dict[Path, str]:
    """Upload all, then wait for all; what failed, and why. One failure stops no other."""
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        bars = {path: progress.add_task(path.name, total=1.0, state="waiting") for path in paths}
        jobs: dict[Path, str] = {}
        failed: dict[Path, str] = {}
        for path in paths:
            try:
                jobs[path] = _send(client, path, progress, bars[path])
            except QasirError as error:
                failed[path] = str(error)
                progress.update(bars[path], state="refused")
        return failed | _follow(client, jobs, progress, bars)


def _send(client: Client, path: Path, progress: Progress, bar: TaskID) -> str:
    size = max(path.stat().st_size, 1)
    while True:
        progress.update(bar, state="sending")
        try:
            return client.upload(
                path, on_bytes=lambda count: progress.advance(bar, SENT_SHARE * count / size)
            ).job_id
        except Overloaded:
            # The queue is bounded and moves on: a large folder waits its turn.
            progress.update(bar, completed=0, state="waiting for a place")
            time.sleep(BUSY_SECONDS)


def _follow(
    client: Client, jobs: dict[Path, str], progress: Progress, bars: dict[Path, TaskID]
) -> dict[Path, str]:
    failed: dict[Path, str] = {}
    waiting = dict(jobs)
    while waiting:
        for path, job_id in list(waiting.items()):
            job = client.job(job_id)
            _show(job, progress, bars[path])
            if job.state in FINAL:
                del waiting[path]
            if job.state in FINAL and job.state != "ready":
                failed[path] = job.error.detail if job.error else job.state
        if waiting:
            time.sleep(POLL_SECONDS)
    return failed


def _show(job: Job, progress: Progress, bar: TaskID) -> None:
    state = f"{job.stage or job.state}" if job.state == "running" else job.state
    eta = "" if job.eta_seconds is None else f", {job.eta_seconds:.0f} s left"
    done = SENT_SHARE + (1 - SENT_SHARE) * job.progress
    progress.update(bar, completed=done, state=state + eta)
