"""`make demo`: serves the exported model, uploads the demo's test videos, searches three times.

    python -m service.stack.demo [--once]

The queries are captions of the test split, so the table can mark the video each was written for.
"""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from qasir.cli.terminal import clock, run
from qasir.client import Client
from qasir.contract.search import SearchResponse
from qasir.errors import NotFound
from service.models.rollout import open_rollout
from service.settings import Settings, load_settings
from service.stack import control as stack

DATASET = stack.ROOT / "data" / "dataset"
SEARCHES = 3
TOP = 5
POLL_SECONDS = 0.5

console = Console(highlight=False, soft_wrap=True)
app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@dataclass(frozen=True)
class Caption:
    """A query of the test split and the video it describes a moment of."""

    text: str
    video: str


def read_captions(path: Path, count: int) -> list[Caption]:
    """Read `count` captions, evenly spread over the file.

    Raises:
        NotFound: the demo corpus has not been rendered.
    """
    if not path.is_file():
        raise NotFound(f"no demo captions at {path}; run `make repro`")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [Caption(row["text"], row["video_id"]) for row in rows[:: len(rows) // count][:count]]


def upload_all(client: Client, files: list[Path]) -> None:
    """Upload every file through the API and wait until all are searchable."""
    uploads = [
        client.upload(path) for path in track(files, "uploading", console=console, transient=True)
    ]
    for upload in track(uploads, "indexing ", console=console, transient=True):
        client.wait(upload.job_id)
    console.print(f"{len(files)} videos are searchable")


def wait_for_model(settings: Settings) -> None:
    """Wait until a new model that is being built is active, or has failed."""
    with open_rollout(settings) as rollout:
        while (version := rollout.store.deployment().pending) is not None:
            model = rollout.get(version)
            if model.state != "building" and model.coverage.failed_count:
                console.print(f"the old model stays active: {model.error}")
                return
            time.sleep(POLL_SECONDS)


def results_table(caption: Caption, answer: SearchResponse) -> Table:
    """Show ranked results; mark the video that the caption was written for."""
    rows = Table(title=f"“{caption.text}”", title_justify="left")
    for heading in ("rank", "score", "video", "moment", ""):
        rows.add_column(heading, no_wrap=True)
    for result in answer.results:
        best = result.moments[0]
        rows.add_row(
            str(result.rank),
            f"{result.score:.3f}",
            result.video.title,
            f"{clock(best.start)} to {clock(best.end)}",
            "<- written for this one" if result.video.title == caption.video else "",
        )
    return rows


@contextmanager
def running(settings: Settings) -> Iterator[None]:
    """Run the stack for the length of the block; one that was up before stays up."""
    was_up = any(process.leader() for process in stack.processes(settings))
    stack.up(settings, console.print)
    try:
        yield
    finally:
        if not was_up:
            stack.down(settings, console.print)


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop after the searches.")] = False,
) -> None:
    """Serve the exported model, upload the demo's test videos, and search three times."""
    settings = load_settings()
    captions = read_captions(DATASET / "test" / "queries.jsonl", SEARCHES)
    lines = (DATASET / "test" / "videos.jsonl").read_text().splitlines()
    test_videos = {json.loads(line)["video_id"] for line in lines}
    files = [path for path in sorted((DATASET / "videos").iterdir()) if path.stem in test_videos]
    url = f"http://{settings.host}:{settings.http_port}"
    try:
        with running(settings), Client(url) as client:
            upload_all(client, files)
            wait_for_model(settings)
            for caption in captions:
                console.print(results_table(caption, client.search(caption.text, TOP)))
            if not once:
                console.print(f"serving at {client.url}; press Ctrl-C to stop")
                threading.Event().wait()
    except KeyboardInterrupt:
        console.print("stopped")


if __name__ == "__main__":
    run(app, "python -m service.stack.demo")
