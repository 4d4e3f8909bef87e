"""`qasir ingest`: uploads videos, with a progress bar for each until it is searchable."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from qasir.artifacts import may_be_video
from qasir.cli.library import is_damaged
from qasir.cli.terminal import AsJson, Url, clock, complaints, console, open_client, print_json
from qasir.client import Client
from qasir.contract.jobs import Job
from qasir.errors import ModelUnavailable, NotFound, Overloaded, QasirError

# Share of a bar that stands for sending the bytes; the job is the rest.
SENT_SHARE = 0.2
BUSY_SECONDS = 2.0


@dataclass
class IngestedFile:
    """The result of one file: why it is not searchable (`error`) or only in part (`damage`)."""

    path: Path
    video_id: str | None = None
    job_id: str | None = None
    state: str = "refused"
    error: str | None = None
    damage: str | None = None


def ingest(
    paths: Annotated[
        list[Path], typer.Argument(help="Videos, or folders of videos.", metavar="PATH")
    ],
    url: Url,
    as_json: AsJson = False,
) -> None:
    """Upload videos and wait until they are searchable.

    Run it again to resume after an interruption.
    """
    with open_client(url) as client:
        files = ingest_files(client, list(video_files(paths)), complaints if as_json else console)
    if as_json:
        print_json([asdict(file) for file in files])
    for file in files:
        if (message := file.error or file.damage) is not None:
            complaints.print(f"{file.path}: {message}")
    if any(file.error is not None for file in files):
        raise typer.Exit(1)


def video_files(paths: Sequence[Path]) -> Iterator[Path]:
    """Yield the files to upload; a folder stands for the files in it that may be videos.

    Raises:
        NotFound: a path does not exist, or is a folder without videos.
    """
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
            videos = sorted(filter(may_be_video, inside))
            if not videos:
                raise NotFound(f"no video in the folder {path}; subfolders are not searched")
            yield from videos
        elif path.is_file():
            yield path
        else:
            raise NotFound(f"no file or folder at {path}")


def ingest_files(client: Client, paths: Sequence[Path], console: Console) -> list[IngestedFile]:
    """Upload every file, then wait for every job; one failure does not stop the rest.

    Raises:
        ModelUnavailable: no service answers.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[state]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        files = [IngestedFile(path) for path in paths]
        bars = {path: progress.add_task(path.name, total=1.0, state="waiting") for path in paths}
        for file in files:
            try:
                _send(client, file, progress, bars[file.path])
            except QasirError as error:
                if isinstance(error, ModelUnavailable):
                    # Only this connection broke if the service still answers; else stop here
                    # with one message for all files.
                    client.videos(limit=1)
                file.error = str(error)
                progress.update(bars[file.path], state="refused")
        # One after the other, as the worker takes them: a service bounds its open streams.
        for file in files:
            if file.job_id is not None:
                _wait(client, file, file.job_id, progress, bars[file.path])
        return files


def _send(client: Client, file: IngestedFile, progress: Progress, bar: TaskID) -> None:
    size = max(file.path.stat().st_size, 1)
    while True:
        progress.update(bar, state="sending")
        try:
            upload = client.upload(
                file.path, on_bytes=lambda count: progress.advance(bar, SENT_SHARE * count / size)
            )
        except Overloaded:
            # The queue is bounded: a large folder waits for room in it.
            progress.update(bar, completed=0, state="waiting for room in the queue")
            time.sleep(BUSY_SECONDS)
        else:
            file.video_id, file.job_id, file.state = upload.video_id, upload.job_id, upload.state
            return


def _wait(client: Client, file: IngestedFile, job_id: str, progress: Progress, bar: TaskID) -> None:
    def on_job(job: Job) -> None:
        file.state = job.state
        state = job.stage or job.state if job.state == "running" else job.state
        eta = "" if job.eta_seconds is None else f", {job.eta_seconds:.0f} s left"
        done = SENT_SHARE + (1 - SENT_SHARE) * job.progress
        progress.update(bar, completed=done, state=state + eta)

    try:
        job = client.wait(job_id, on_job, timeout=math.inf)
    except QasirError as error:
        # Its own error, or a video that was deleted meanwhile; all else concerns every file.
        if file.state != "failed" and not isinstance(error, NotFound):
            raise
        file.error = str(error)
    else:
        if job.state == "ready":
            file.damage = _damage(client, job.video_id)
        else:
            file.error = job.state


def _damage(client: Client, video_id: str) -> str | None:
    # A video that was deleted meanwhile is no error.
    with suppress(NotFound):
        video = client.video(video_id)
        if is_damaged(video):
            readable, whole = clock(video.indexed_seconds), clock(video.duration)
            return f"only {readable} of {whole} could be read and are searched"
    return None
