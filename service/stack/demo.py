"""`make demo`: serve the exported model, upload the demo's test videos, search three times.

    python -m service.stack.demo [--once]

The queries are captions of the test split, so the table can mark the video each was written for.
"""

import argparse
import json
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from qasir.cli.tables import clock
from qasir.client import Client
from qasir.client.results import SearchResults, Upload
from qasir.errors import NotFound, QasirError
from service.app import open_admin
from service.settings import Settings, load_settings
from service.stack import control as stack

DATASET = stack.ROOT / "data" / "dataset"
SEARCHES = 3
TOP = 5
POLL_SECONDS = 0.5

console = Console(highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Caption:
    """A query of the test split and the video it describes a moment of."""

    text: str
    video: str


def read_captions(path: Path, count: int) -> list[Caption]:
    """`count` captions, evenly spread over the file.

    Raises:
        NotFound: the demo corpus has not been rendered.
    """
    if not path.is_file():
        raise NotFound(f"no demo captions at {path}; run `make repro`")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [Caption(row["text"], row["video_id"]) for row in rows[:: len(rows) // count][:count]]


def upload(client: Client, files: list[Path]) -> None:
    """Upload every file through the API and wait until all are searchable."""
    sent: list[Upload] = [
        client.upload(path) for path in track(files, "uploading", console=console, transient=True)
    ]
    for one in track(sent, "indexing ", console=console, transient=True):
        client.wait(one.job_id)
    console.print(f"{len(files)} videos are searchable")


def follow(settings: Settings) -> None:
    """Wait until a new model, if there is one, answers: with every video, or not at all."""
    with open_admin(settings) as tools:
        while (version := tools.store.deployment().pending) is not None:
            one = tools.rollout.get(version)
            if one.state != "building" and one.coverage.failed_count:
                console.print(f"the old model answers on: {one.error}")
                return
            time.sleep(POLL_SECONDS)


def table(caption: Caption, found: SearchResults) -> Table:
    """Ranked results; the video that the caption was written for is marked."""
    rows = Table(title=f"“{caption.text}”", title_justify="left")
    for heading in ("rank", "score", "video", "moment", ""):
        rows.add_column(heading, no_wrap=True)
    for result in found.results:
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
    """The stack, for the length of the block; one that was up before stays up."""
    before = any(process.leader() for process in stack.processes(settings))
    stack.up(settings, console.print)
    try:
        yield
    finally:
        if not before:
            stack.down(settings, console.print)


def demo(settings: Settings, *, once: bool) -> None:
    """Everything `make demo` shows after the pipeline has run.

    Raises:
        QasirError: a step failed; what it started is stopped again.
    """
    captions = read_captions(DATASET / "test" / "queries.jsonl", SEARCHES)
    wanted = {json.loads(line)["video_id"] for line in _lines(DATASET / "test" / "videos.jsonl")}
    files = [path for path in sorted((DATASET / "videos").iterdir()) if path.stem in wanted]
    with running(settings), Client(f"http://{settings.host}:{settings.http_port}") as client:
        upload(client, files)
        follow(settings)
        for caption in captions:
            console.print(table(caption, client.search(caption.text, TOP)))
        if not once:
            console.print(f"serving at {client.url}; press Ctrl-C to stop")
            threading.Event().wait()


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


def main() -> None:
    """Parse, run, and turn an error into one message and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m service.stack.demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="stop after the searches")
    once = parser.parse_args().once
    try:
        demo(load_settings(), once=once)
    except KeyboardInterrupt:
        console.print("stopped")
    except QasirError as error:
        sys.exit(f"demo: {error}")


if __name__ == "__main__":
    main()
