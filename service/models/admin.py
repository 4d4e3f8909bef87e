"""Model sets and generations from the command line: `python -m service.models COMMAND`."""

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.table import Column, Table

from qasir.cli.terminal import print_json
from qasir.errors import QasirError
from qasir.triton import Triton
from service.catalogue.catalogue import Catalogue
from service.factories import open_triton
from service.http.schemas.models import GenerationOut
from service.models.deployment import Reranker
from service.models.rollout import Activation, Generation, Generations
from service.models.store import ModelStore
from service.settings import Settings, load_settings
from service.storage.media import MediaStore

Words = TypeVar("Words", str, Table)

UNBROKEN = ("state", "videos", "name", "fingerprint")


@dataclass(frozen=True)
class Tools:
    """What the commands work on; they need no running service."""

    store: ModelStore
    generations: Generations
    triton: Triton


@dataclass(frozen=True)
class Answer(Generic[Words]):
    """What a command found: for people, and as `plain` JSON."""

    words: Words
    plain: Any


@contextmanager
def open_tools(settings: Settings) -> Iterator[Tools]:
    """Open the state folder for a command."""
    media = MediaStore(settings.folders, settings.max_upload_bytes, settings.disk_reserve_bytes)
    catalogue, store = Catalogue(settings.folders.catalogue), ModelStore(settings.state)
    try:
        with open_triton(settings) as triton:
            generations = Generations(settings, catalogue, media, store, triton)
            yield Tools(store, generations, triton)
    finally:
        catalogue.close()


def add(tools: Tools, export: Path) -> Answer[str]:
    """Add an export; says which version it is."""
    made = tools.generations.get(tools.store.add(export))
    name, fingerprint = made.manifest.name, made.manifest.fingerprint
    return Answer(f"version {made.id} is '{name}', fingerprint {fingerprint}", _plain(made))


def build(tools: Tools, version: int, *, activate: bool) -> Answer[str]:
    """Let the worker encode every video with a version; says how many are left."""
    made = tools.generations.build(version, activate=activate)
    words = f"version {made.id} is {made.state}: {_progress(made)}; see `qasir models list`"
    return Answer(words, _plain(made))


def activate(tools: Tools, wanted: Activation) -> Answer[str]:
    """Make a version active; says from when on."""
    made = tools.generations.activate(wanted)
    when = "from now on" if tools.triton.ready() else "from the next start on"
    words = f"version {made.id} is active {when}: fingerprint {made.manifest.fingerprint}"
    return Answer(words, _plain(made))


def retire(tools: Tools, version: int) -> Answer[str]:
    """Remove a version's vectors; its models stay in the store."""
    tools.generations.retire(version)
    words = f"version {version} is kept no longer; `qasir models build {version}` begins again"
    return Answer(words, {"retired": version})


def listed(tools: Tools) -> Answer[Table] | Answer[str]:
    """Every version with its generation."""
    found = tools.generations.list()
    if not found:
        return Answer("no model yet; `dvc repro` exports one and `qasir up` adds it", [])
    return Answer(table(found), [_plain(one) for one in found])


def table(found: Sequence[Generation]) -> Table:
    """Generations, a row each."""
    names = ("version", "state", "videos", "name", "backbone", "variant", "N", "fingerprint")
    result = Table(*(Column(name, no_wrap=name in UNBROKEN) for name in names))
    for one in found:
        manifest = one.manifest
        result.add_row(
            str(one.id),
            one.state,
            "" if one.state == "stored" else f"{one.videos.done}/{one.videos.total}",
            manifest.name,
            manifest.backbone,
            manifest.variant,
            " ".join(map(str, manifest.profile.grid_sizes)),
            manifest.fingerprint,
        )
    return result


def _plain(one: Generation) -> dict[str, Any]:
    return GenerationOut.of(one).model_dump(mode="json")


def _progress(one: Generation) -> str:
    failed = f", {one.videos.failed} failed" if one.videos.failed else ""
    return f"{one.videos.done} of {one.videos.total} videos{failed}"


def parser() -> argparse.ArgumentParser:
    """`list`, `add FOLDER`, and `build`, `activate`, `retire` of a version."""
    result = argparse.ArgumentParser(prog="qasir models", description="Models and generations.")
    commands = result.add_subparsers(dest="command", required=True)
    listing = commands.add_parser("list", help="every version, and how many videos it holds")
    adding = commands.add_parser("add", help="copy a verified export into the store")
    adding.add_argument("export", type=Path)
    building = commands.add_parser("build", help="encode every video with a version")
    activating = commands.add_parser("activate", help="answer searches with a version")
    retiring = commands.add_parser("retire", help="remove the vectors of a version")
    for command in (building, activating, retiring):
        command.add_argument("version", type=int)
    for command in (listing, adding, building, activating, retiring):
        command.add_argument("--json", action="store_true", help="print JSON")
    building.add_argument("--activate", action="store_true", help="once it holds every video")
    activating.add_argument("--max-missing", type=int, default=0, help="videos it may lack")
    activating.add_argument("--fine", type=int, metavar="VERSION", help="scores in mode hybrid")
    activating.add_argument("--fine-grid-size", type=int, default=1, metavar="N")
    activating.add_argument("-k", type=int, default=20, help="videos that it scores")
    return result


def run(given: argparse.Namespace, tools: Tools) -> Answer[str] | Answer[Table]:
    """One command's answer."""
    match given.command:
        case "add":
            return add(tools, given.export)
        case "build":
            return build(tools, given.version, activate=given.activate)
        case "activate":
            return activate(tools, Activation(given.version, given.max_missing, _fine(given)))
        case "retire":
            return retire(tools, given.version)
        case _:
            return listed(tools)


def _fine(given: argparse.Namespace) -> Reranker | None:
    if given.fine is None:
        return None
    return Reranker(version=given.fine, grid_size=given.fine_grid_size, k=given.k)


def main() -> None:
    """Run one command; an error is one line and exit code 1."""
    given = parser().parse_args()
    try:
        settings = load_settings()
        settings.folders.create()
        with open_tools(settings) as tools:
            answer = run(given, tools)
    except QasirError as error:
        sys.exit(f"models {given.command}: {error}")
    if given.json:
        print_json(answer.plain)
    else:
        Console(highlight=False, soft_wrap=True).print(answer.words)
