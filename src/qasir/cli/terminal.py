"""What every command of `qasir` shares: where the service is, how answers are printed."""

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from qasir.client import Client

console = Console(highlight=False)
complaints = Console(stderr=True, highlight=False, soft_wrap=True, markup=False)


def default_url() -> str:
    """The service of this machine, where the environment puts it."""
    host, port = (
        os.environ.get("QASIR_HOST", "127.0.0.1"),
        os.environ.get("QASIR_HTTP_PORT", "3000"),
    )
    return f"http://{host}:{port}"


Url = Annotated[
    str,
    typer.Option(
        "--url",
        help="Where the service is.",
        default_factory=default_url,
        show_default="http://QASIR_HOST:QASIR_HTTP_PORT",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def open_client(url: str) -> Client:
    """A client that goes on with large uploads that an earlier command left unfinished."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Client(url, memory=Path(cache) / "qasir" / "uploads")


def print_json(value: object) -> None:
    """One JSON document on standard output, whatever its width."""
    typer.echo(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def _plain(value: object) -> str:
    """Times as the HTTP API writes them; paths as they are."""
    return value.isoformat() if isinstance(value, datetime) else str(value)
