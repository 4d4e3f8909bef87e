"""`qasir videos` and `qasir jobs`: what is in the library, and what becomes of uploads."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Annotated

import typer
from rich.markup import escape

from qasir.cli.tables import jobs_table, videos_table
from qasir.cli.terminal import AsJson, Url, console, open_client, print_json
from qasir.client import Client
from qasir.client.results import Job

videos_app = typer.Typer(no_args_is_help=True, help="What is in the library.")
jobs_app = typer.Typer(no_args_is_help=True, help="What becomes of uploads.")

VideoId = Annotated[str, typer.Argument(help="As `qasir videos list` shows it.", metavar="ID")]
JobId = Annotated[str, typer.Argument(help="As `qasir jobs list` shows it.", metavar="ID")]
Limit = Annotated[int, typer.Option(help="How many.")]
Offset = Annotated[int, typer.Option(help="How many newer ones to leave out.")]


@videos_app.command("list")
def list_videos(url: Url, limit: Limit = 50, offset: Offset = 0, as_json: AsJson = False) -> None:
    """The library, newest first."""
    with open_client(url) as client:
        page = client.videos(offset, limit)
    if as_json:
        print_json(asdict(page))
        return
    if not page.total:
        console.print("no video yet; `qasir ingest PATH` adds some")
        return
    console.print(videos_table(page.videos))
    console.print(f"{len(page.videos)} of {page.total} videos")


@videos_app.command("show")
def show_video(video_id: VideoId, url: Url, as_json: AsJson = False) -> None:  # noqa: ARG001  # either way
    """All that is known of one video, as JSON."""
    with open_client(url) as client:
        print_json(asdict(client.video(video_id)))


@videos_app.command("delete")
def delete_video(video_id: VideoId, url: Url, as_json: AsJson = False) -> None:
    """Remove a video and everything made of it."""
    with open_client(url) as client:
        client.delete(video_id)
    if as_json:
        print_json({"deleted": video_id})
    else:
        console.print(f"deleted {video_id}")


@jobs_app.command("list")
def list_jobs(
    url: Url,
    limit: Limit = 50,
    offset: Offset = 0,
    state: Annotated[
        str | None, typer.Option(help="queued | running | ready | failed | cancelled.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Jobs, newest first."""
    with open_client(url) as client:
        jobs = client.jobs(offset, limit, state)
    if as_json:
        print_json([asdict(job) for job in jobs])
    elif jobs:
        console.print(jobs_table(jobs))
        if any(job.error for job in jobs):
            console.print("`qasir jobs show ID` says what is wrong")
    else:
        console.print("no such job" if state or offset else "no job yet")


@jobs_app.command("show")
def show_job(job_id: JobId, url: Url, as_json: AsJson = False) -> None:
    """One job, and what went wrong with it."""
    _change(url, lambda client: client.job(job_id), as_json)


@jobs_app.command("cancel")
def cancel_job(job_id: JobId, url: Url, as_json: AsJson = False) -> None:
    """End a job that has not ended; its video stays."""
    _change(url, lambda client: client.cancel(job_id), as_json)


@jobs_app.command("retry")
def retry_job(job_id: JobId, url: Url, as_json: AsJson = False) -> None:
    """Ingest the video of a failed or cancelled job again."""
    _change(url, lambda client: client.retry(job_id), as_json)


def _change(url: str, ask: Callable[[Client], Job], as_json: bool) -> None:
    with open_client(url) as client:
        job = ask(client)
    if as_json:
        print_json(asdict(job))
    else:
        console.print(jobs_table([job]))
        if job.error is not None:
            console.print(escape(job.error.detail), soft_wrap=True)
