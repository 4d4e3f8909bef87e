"""Uploads with a progress bar for each video: sent, then encoded, then searchable."""

import math
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from qasir.cli.tables import clock, is_damaged
from qasir.client import Client
from qasir.client.results import Job
from qasir.errors import ModelUnavailable, NotFound, Overloaded, QasirError

# Of a bar: sending the bytes, and then the job.
SENT_SHARE = 0.2
BUSY_SECONDS = 2.0


@dataclass
class Ingested:
    """What became of one file; `error` says why it is not searchable, `damage` what is not."""

    path: Path
    video_id: str | None = None
    job_id: str | None = None
    state: str = "refused"
    error: str | None = None
    damage: str | None = None


def ingest_files(client: Client, paths: Sequence[Path], console: Console) -> list[Ingested]:
    """Upload all, then wait for all. One failure stops no other.

    Raises:
        ModelUnavailable: no service answers.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        files = [Ingested(path) for path in paths]
        bars = {path: progress.add_task(path.name, total=1.0, state="waiting") for path in paths}
        for file in files:
            try:
                _send(client, file, progress, bars[file.path])
            except QasirError as error:
                if isinstance(error, ModelUnavailable):
                    # Its own connection broke, or nobody is there, which is not said of each file.
                    client.videos(limit=1)
                file.error = str(error)
                progress.update(bars[file.path], state="refused")
        _follow(client, files, progress, bars)
        return files


def _send(client: Client, file: Ingested, progress: Progress, bar: TaskID) -> None:
    size = max(file.path.stat().st_size, 1)
    while True:
        progress.update(bar, state="sending")
        try:
            upload = client.upload(
                file.path, on_bytes=lambda count: progress.advance(bar, SENT_SHARE * count / size)
            )
        except Overloaded:
            # The queue is bounded and moves on: a large folder waits its turn.
            progress.update(bar, completed=0, state="waiting for a place")
            time.sleep(BUSY_SECONDS)
        else:
            file.video_id, file.job_id, file.state = upload.video_id, upload.job_id, upload.state
            return


def _follow(
    client: Client, files: Sequence[Ingested], progress: Progress, bars: dict[Path, TaskID]
) -> None:
    # One after the other, as the worker takes them: a service bounds its open streams.
    for file in files:
        if file.job_id is not None:
            _wait(client, file, file.job_id, progress, bars[file.path])


def _wait(client: Client, file: Ingested, job_id: str, progress: Progress, bar: TaskID) -> None:
    def on_job(job: Job) -> None:
        file.state = job.state
        _show(job, progress, bar)

    try:
        job = client.wait(job_id, on_job, timeout=math.inf)
    except QasirError as error:
        if file.state != "failed" and not isinstance(error, NotFound):
            raise
        file.error = str(error)
    else:
        if job.state == "ready":
            file.damage = _damage(client, job.video_id)
        else:
            file.error = job.state


def _damage(client: Client, video_id: str) -> str | None:
    # A video that somebody has deleted by now is nobody's to complain of.
    with suppress(NotFound):
        video = client.video(video_id)
        if is_damaged(video):
            readable, whole = clock(video.indexed_seconds), clock(video.duration)
            return f"only {readable} of {whole} could be read and are searched"
    return None


def _show(job: Job, progress: Progress, bar: TaskID) -> None:
    state = f"{job.stage or job.state}" if job.state == "running" else job.state
    eta = "" if job.eta_seconds is None else f", {job.eta_seconds:.0f} s left"
    done = SENT_SHARE + (1 - SENT_SHARE) * job.progress
    progress.update(bar, completed=done, state=state + eta)
