"""`qasir videos` and `qasir jobs`: what is in the library, and how its ingest goes."""

from collections.abc import Callable, Sequence
from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from qasir.cli.terminal import AsJson, Url, clock, console, id_column, open_client, print_json
from qasir.client import Client
from qasir.contract.jobs import Job
from qasir.contract.videos import Video

videos_app = typer.Typer(no_args_is_help=True, help="List, show and delete videos.")
jobs_app = typer.Typer(no_args_is_help=True, help="Follow, cancel and retry ingest jobs.")

VideoId = Annotated[str, typer.Argument(help="See `qasir videos list`.", metavar="ID")]
JobId = Annotated[str, typer.Argument(help="See `qasir jobs list`.", metavar="ID")]
Limit = Annotated[int, typer.Option(help="How many to list.")]
PageToken = Annotated[str | None, typer.Option(help="List the page after an earlier one.")]


@videos_app.command("list")
def list_videos(
    url: Url, limit: Limit = 50, page_token: PageToken = None, as_json: AsJson = False
) -> None:
    """List videos, newest first."""
    with open_client(url) as client:
        page = client.videos(limit, page_token)
    if as_json:
        print_json(page)
    elif not page.total_count:
        console.print("no video yet; `qasir ingest PATH` adds some")
    else:
        console.print(videos_table(page.videos))
        console.print(f"{len(page.videos)} of {page.total_count} videos")
        _print_next(page.next_page_token)


@videos_app.command("show")
def show_video(video_id: VideoId, url: Url, as_json: AsJson = False) -> None:  # noqa: ARG001  # JSON either way
    """Print all that is known about one video, as JSON."""
    with open_client(url) as client:
        print_json(client.video(video_id))


@videos_app.command("delete")
def delete_video(video_id: VideoId, url: Url, as_json: AsJson = False) -> None:
    """Delete a video and everything made of it."""
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
    page_token: PageToken = None,
    state: Annotated[
        str | None, typer.Option(help="queued, running, ready, failed or cancelled.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with open_client(url) as client:
        page = client.jobs(limit, page_token, state)
    if as_json:
        print_json(page)
    elif page.jobs:
        console.print(jobs_table(page.jobs))
        if any(job.error for job in page.jobs):
            console.print("`qasir jobs show ID` prints the error")
        _print_next(page.next_page_token)
    else:
        console.print("no such job" if state or page_token else "no job yet")


@jobs_app.command("show")
def show_job(job_id: JobId, url: Url, as_json: AsJson = False) -> None:
    """Show one job, and its error if it failed."""
    _print_job(url, lambda client: client.job(job_id), as_json)


@jobs_app.command("cancel")
def cancel_job(job_id: JobId, url: Url, as_json: AsJson = False) -> None:
    """Cancel a job that has not ended; its video stays."""
    _print_job(url, lambda client: client.cancel(job_id), as_json)


@jobs_app.command("retry")
def retry_job(job_id: JobId, url: Url, as_json: AsJson = False) -> None:
    """Ingest the video of a failed or cancelled job again."""
    _print_job(url, lambda client: client.retry(job_id), as_json)


def _print_job(url: str, call: Callable[[Client], Job], as_json: bool) -> None:
    with open_client(url) as client:
        job = call(client)
    if as_json:
        print_json(job)
    else:
        console.print(jobs_table([job]))
        if job.error is not None:
            console.print(escape(job.error.detail), soft_wrap=True)


def _print_next(page_token: str | None) -> None:
    if page_token is not None:
        console.print(f"the next page: --page-token {page_token}", soft_wrap=True)


def videos_table(videos: Sequence[Video]) -> Table:
    table = Table(id_column("video"), "state", "length", "size", "title")
    for video in videos:
        size = f"{video.width}x{video.height}" if video.width else ""
        table.add_row(video.id, video.state, length_of(video), size, video.title)
    return table


def jobs_table(jobs: Sequence[Job]) -> Table:
    table = Table(id_column("job"), id_column("video"), "state", "done", "left", "error")
    for job in jobs:
        left = "" if job.eta_seconds is None else f"{job.eta_seconds:.0f} s"
        state = f"{job.state}, {job.stage}" if job.state == "running" and job.stage else job.state
        error = "" if job.error is None else job.error.code
        table.add_row(job.id, job.video_id, state, f"{job.progress:.0%}", left, error)
    return table


def length_of(video: Video) -> str:
    """Say how long a video is, and how much of a damaged one is searched."""
    if not video.duration:
        return ""
    readable = f" ({clock(video.indexed_seconds)} readable)" if is_damaged(video) else ""
    return clock(video.duration) + readable


def is_damaged(video: Video) -> bool:
    """Whether much of a video could not be decoded, so that it is not searched."""
    # Sampling may skip half an interval at the end, which is no damage.
    missing = video.duration - video.indexed_seconds > max(2.0, 0.1 * video.duration)
    return video.state == "ready" and missing
