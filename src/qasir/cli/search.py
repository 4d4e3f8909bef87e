"""`qasir search`: what it asks for, and how it shows what was found."""

import json
import re
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from qasir.cli.tables import results_table, searched_words
from qasir.cli.terminal import AsJson, Url, console, open_client, print_json
from qasir.errors import InvalidInput, NotFound

# How they are written; docs/search.md has the rest.
FILTER = """--filter '{"duration": {"gte": 60}}'"""
LIKE = "--like ID@START-END, with seconds or times as results have them: v21425eb9@0:08-0:09.6"
TIME = r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)"
SEGMENT = re.compile(rf"(?P<video_id>\S+)@(?P<start>{TIME})-(?P<end>{TIME})", re.ASCII)


def search(
    url: Url,
    text: Annotated[
        str | None, typer.Argument(help="What to look for, in words.", metavar="TEXT")
    ] = None,
    top: Annotated[int, typer.Option(help="How many results.")] = 10,
    offset: Annotated[int, typer.Option(help="How many better ones to leave out.")] = 0,
    mode: Annotated[
        str | None, typer.Option(help="fast, accurate (the default) or hybrid.")
    ] = None,
    profile: Annotated[str | None, typer.Option(help="The model set that is to answer.")] = None,
    grid_size: Annotated[
        int | None, typer.Option(help="N of the super images, of those that are served.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="A result is a video (the default) or a moment.")
    ] = None,
    where: Annotated[
        str | None,
        typer.Option("--filter", help='Which videos may answer: \'{"duration": {"gte": 60}}\'.'),
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
    """Find the videos, and the moments in them, that a text describes or an example shows."""
    with open_client(url) as client:
        found = client.search(
            text,
            top,
            mode=mode,
            profile=profile,
            grid_size=grid_size,
            group_by=group_by,
            offset=offset or None,
            filter=None if where is None else read_filter(where),
            example=read_example(image, like),
            context_seconds=context,
        )
    if as_json:
        print_json(asdict(found))
        return
    if not found.searched.videos and where is None:
        console.print("no video is searchable yet; `qasir ingest PATH` adds some")
        return
    if not found.searched.videos:
        console.print("the filter lets no searchable video through; `qasir videos list` shows all")
        return
    if found.results:
        console.print(results_table(found.results))
    else:
        console.print(f"no more results after the first {offset}")
    console.print(searched_words(found))
    if found.provisional:
        fine = found.fine
        scored = f"{fine.scored} of {fine.asked} videos were" if fine else "nothing was"
        console.print(f"the cheap order: {scored} scored by the fine model in time; search again")


def read_filter(text: str) -> dict[str, Any]:
    """The value of --filter.

    Raises:
        InvalidInput: it is no JSON object.
    """
    try:
        value = json.loads(text)
    except ValueError as error:
        raise InvalidInput(f"--filter is no JSON: {error}; write {FILTER}") from error
    if not isinstance(value, dict):
        raise InvalidInput(f"--filter is {text[:40]}, and no JSON object; write {FILTER}")
    return value


def read_picture(path: Path) -> bytes:
    """The bytes of a picture.

    Raises:
        NotFound: there is no such file.
    """
    if not path.is_file():
        raise NotFound(f"no picture at {path}; give the path of a JPEG, PNG or WebP file")
    return path.read_bytes()


def read_example(image: Path | None, like: str | None) -> dict[str, Any] | None:
    """What --image or --like gives to search by, if one of them is there.

    Raises:
        NotFound: there is no such picture.
        InvalidInput: both are there, or --like is no segment.
    """
    if image is not None and like is not None:
        raise InvalidInput("--image and --like: a search has one example; leave one of them out")
    if image is not None:
        return {"image": read_picture(image)}
    return None if like is None else read_segment(like)


def read_segment(text: str) -> dict[str, Any]:
    """The value of --like.

    >>> read_segment("v3f@0:08.0-1:09.6")
    {'video_id': 'v3f', 'start': 8.0, 'end': 69.6}

    Raises:
        InvalidInput: it is no video with a stretch of time.
    """
    found = SEGMENT.fullmatch(text)
    if found is None:
        raise InvalidInput(f"--like is '{text[:80]}', and no segment of a video; write {LIKE}")
    start, end = seconds(found["start"]), seconds(found["end"])
    return {"video_id": found["video_id"], "start": start, "end": end}


def seconds(time: str) -> float:
    """A time in seconds.

    >>> seconds("1:02:05.2")
    3725.2
    """
    return sum(float(part) * 60.0**i for i, part in enumerate(reversed(time.split(":"))))
