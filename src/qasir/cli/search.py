"""`qasir search`: its options, and how it prints results."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from qasir.cli.terminal import AsJson, Url, clock, console, id_column, open_client, print_json
from qasir.contract.search import SearchResult
from qasir.errors import InvalidInput, NotFound

# Examples for messages; docs/search.md has the rest.
FILTER = """--filter '{"duration": {"gte": 60}}'"""
LIKE = "--like ID@START-END, with seconds or times as results show them: v21425eb9@0:08-0:09.6"
TIME = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)"
SEGMENT = re.compile(rf"(?P<video_id>\S+)@(?P<start>{TIME})-(?P<end>{TIME})", re.ASCII)


def search(
    url: Url,
    text: Annotated[
        str | None, typer.Argument(help="What to look for, in words.", metavar="TEXT")
    ] = None,
    top: Annotated[int, typer.Option(help="How many results to return.")] = 10,
    offset: Annotated[int, typer.Option(help="How many results to skip.")] = 0,
    mode: Annotated[
        str | None, typer.Option(help="fast, accurate (the default) or hybrid.")
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="A model's name, or name@version; else the active one.")
    ] = None,
    grid_size: Annotated[
        int | None, typer.Option(help="N of the N x N super images, of those the model serves.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="What a result is: video (the default) or moment.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--filter", help='Search only these videos: \'{"duration": {"gte": 60}}\'.'),
    ] = None,
    image: Annotated[
        Path | None, typer.Option(help="Search by this picture, alone or with TEXT.")
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="Search by this stretch of an indexed video, alone or with TEXT.",
            metavar="ID@START-END",
        ),
    ] = None,
    context: Annotated[
        float | None, typer.Option(help="Seconds to add before and after each moment.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Find videos, and the moments in them, by a text or an example."""
    with open_client(url) as client:
        answer = client.search(
            text,
            top,
            mode=mode,
            model=model,
            grid_size=grid_size,
            group_by=group_by,
            offset=offset or None,
            filter=None if where is None else read_filter(where),
            example=read_example(image, like),
            context_seconds=context,
        )
    if as_json:
        print_json(answer)
        return
    if not answer.searched.video_count:
        empty = "no video is searchable yet; `qasir ingest PATH` adds some"
        filtered = "no searchable video passes the filter; `qasir videos list` lists all"
        console.print(empty if where is None else filtered)
        return
    nothing = f"no more results after the first {offset}"
    console.print(results_table(answer.results) if answer.results else nothing)
    count, milliseconds = answer.searched.video_count, answer.timings_ms.get("total", 0.0)
    videos = f"{count} video{'' if count == 1 else 's'}, {clock(answer.searched.seconds)} in all"
    console.print(f"searched {videos}, in {milliseconds:.0f} ms")
    if answer.provisional:
        status = answer.reranker
        scored = f"{status.scored_count} of {status.candidate_count}" if status else "none"
        console.print(
            f"provisional order: the reranker scored {scored} of its candidates in time; "
            f"search again"
        )


def results_table(results: Sequence[SearchResult]) -> Table:
    table = Table("rank", "score", id_column("video"), "moment", "title")
    for result in results:
        moment = result.moments[0] if result.moments else None
        when = f"{clock(moment.start)} to {clock(moment.end)}" if moment else ""
        row = (str(result.rank), f"{result.score:.3f}", result.video.id, when, result.video.title)
        table.add_row(*row)
    return table


def read_filter(text: str) -> dict[str, Any]:
    """Parse the value of --filter.

    Raises:
        InvalidInput: it is not a JSON object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--filter is not JSON: {error}; write {FILTER}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"--filter is {text[:40]}, not a JSON object; write {FILTER}")
    return value


def read_example(image: Path | None, like: str | None) -> dict[str, Any] | None:
    """Return the example that --image or --like gives, if one of them is set.

    Raises:
        NotFound: there is no such picture.
        InvalidInput: both are set, or --like is not a segment.
    """
    if image is not None and like is not None:
        raise InvalidInput("--image and --like: a search has one example; leave one of them out")
    if image is not None:
        if not image.is_file():
            raise NotFound(f"no picture at {image}; give the path of a JPEG, PNG or WebP file")
        return {"image": image.read_bytes()}
    return None if like is None else read_segment(like)


def read_segment(text: str) -> dict[str, Any]:
    """Parse the value of --like.

    >>> read_segment("v3f@0:08.0-1:09.6")
    {'video_id': 'v3f', 'start': 8.0, 'end': 69.6}

    Raises:
        InvalidInput: it is not a video with a stretch of time.
    """
    match = SEGMENT.fullmatch(text)
    if match is None:
        raise InvalidInput(f"--like is '{text[:80]}', not a segment of a video; write {LIKE}")
    start, end = seconds(match["start"]), seconds(match["end"])
    return {"video_id": match["video_id"], "start": start, "end": end}


def seconds(time: str) -> float:
    """Convert a time to seconds.

    >>> seconds("1:02:05.2")
    3725.2
    """
    return sum(float(part) * 60.0**i for i, part in enumerate(reversed(time.split(":"))))
