"""What all commands share: URL and checkout, options, and how results are printed."""

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Column

from qasir.client import Client
from qasir.errors import QasirError

console = Console(highlight=False)
complaints = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def default_url() -> str:
    """Return the URL that the environment sets, on this machine if it sets none."""
    host = os.environ.get("QASIR_HOST", "127.0.0.1")
    return f"http://{host}:{os.environ.get('QASIR_HTTP_PORT', '3000')}"


Url = Annotated[
    str,
    typer.Option(
        "--url",
        help="URL of the service, http://host:port or grpc://host:port.",
        default_factory=default_url,
        show_default="http://QASIR_HOST:QASIR_HTTP_PORT",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def run(app: typer.Typer, name: str) -> None:
    """Run a command line; print an error as one message and exit with 1."""
    try:
        app(prog_name=name)
    except QasirError as error:
        complaints.print(f"qasir: {error}")
        sys.exit(1)


def open_client(url: str) -> Client:
    """Open a client that resumes large uploads that an earlier command left unfinished."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Client(url, memory=Path(cache) / "qasir" / "uploads")


def find_checkout(folder: Path) -> Path | None:
    """Find the checkout of qasir that a folder is in."""
    around = (folder, *folder.parents)
    stack = Path("service", "stack", "__main__.py")
    return next((path for path in around if (path / stack).is_file()), None)


def print_json(value: object) -> None:
    """Print one JSON document on standard output, never wrapped."""
    typer.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else str(value)


def clock(seconds: float) -> str:
    """Format a time for people.

    >>> clock(3725.25)
    '1:02:05.2'
    """
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:04.1f}" if hours else f"{minutes}:{rest:04.1f}"


def id_column(name: str) -> Column:
    """Return a column of ids, which people copy: never cut, never wrapped.

    A new one for each table, because a column holds the cells of its table.
    """
    return Column(name, no_wrap=True)
