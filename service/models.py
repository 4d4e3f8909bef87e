"""The model store from the command line: `python -m service.models add|list|activate`."""

import argparse
import sys
from pathlib import Path

from rich.console import Console
from rich.table import Column, Table

from qasir.errors import NotFound, QasirError
from service.connect import open_triton
from service.settings import Settings, load_settings
from service.store.models import ModelStore


def add(settings: Settings, export: Path) -> str:
    """Add an export; says which version it is."""
    store = ModelStore(settings.state)
    version = store.add(export)
    name = store.get(version).manifest.name
    return f"version {version} is '{name}', {_fingerprint(store, version)}"


def activate(settings: Settings, version: int) -> str:
    """Make a version active, in a running Triton at once; says what happened."""
    store = ModelStore(settings.state)
    with open_triton(settings) as triton:
        running = triton.ready()
        store.activate(version, triton.load if running else None)
    when = "from now on" if running else "from the next start on"
    return f"version {version} is active {when}: {_fingerprint(store, version)}"


def table(settings: Settings) -> Table:
    """Every version, the active one marked."""
    store = ModelStore(settings.state)
    try:
        active = store.serving().active
    except NotFound:
        active = None
    whole = Column("fingerprint", no_wrap=True)
    result = Table("", "version", "name", "backbone", "variant", "D", "grid sizes", whole)
    for model in store.list():
        manifest = model.manifest
        result.add_row(
            "*" if model.version == active else "",
            str(model.version),
            manifest.name,
            manifest.backbone,
            manifest.variant,
            str(manifest.dim),
            " ".join(map(str, sorted(manifest.grids))),
            manifest.fingerprint,
        )
    return result


def _fingerprint(store: ModelStore, version: int) -> str:
    return f"fingerprint {store.get(version).manifest.fingerprint}"


def parser() -> argparse.ArgumentParser:
    """`add <folder>`, `list`, `activate <version>`."""
    result = argparse.ArgumentParser(prog="qasir models", description="The model store.")
    commands = result.add_subparsers(dest="command", required=True)
    commands.add_parser("list", help="every version, the active one marked")
    adding = commands.add_parser("add", help="copy a verified export into the store")
    adding.add_argument("export", type=Path)
    activating = commands.add_parser("activate", help="make a version the one that serves")
    activating.add_argument("version", type=int)
    return result


def main() -> None:
    """Run one command; an error is one line and exit code 1."""
    given = parser().parse_args()
    console = Console(highlight=False, soft_wrap=True)
    try:
        settings = load_settings()
        settings.folders.create()
        if given.command == "add":
            console.print(add(settings, given.export))
        elif given.command == "activate":
            console.print(activate(settings, given.version))
        else:
            console.print(table(settings))
    except QasirError as error:
        sys.exit(f"models {given.command}: {error}")


if __name__ == "__main__":
    main()
