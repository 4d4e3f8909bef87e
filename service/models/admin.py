"""Model sets and generations from the command line: `python -m service.models COMMAND`."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from rich.console import Console
from rich.table import Column, Table

from qasir.cli.terminal import print_json
from qasir.contract.models import ActivateModelRequest, Model, Reranker
from qasir.errors import QasirError
from service.app import AdminState, open_admin
from service.http.schemas.models import GenerationOut
from service.settings import load_settings

Words = TypeVar("Words", str, Table)

UNBROKEN = ("state", "videos", "name", "fingerprint")


@dataclass(frozen=True)
class Answer(Generic[Words]):
    """What a command found: for people, and as `plain` JSON."""

    words: Words
    plain: Any


def add(tools: AdminState, export: Path) -> Answer[str]:
    """Add an export; says which version it is."""
    made = tools.rollout.get(tools.store.add(export))
    words = f"version {made.version} is '{made.name}', fingerprint {made.fingerprint}"
    return Answer(words, _plain(made))


def build(tools: AdminState, version: int, *, activate: bool) -> Answer[str]:
    """Let the worker encode every video with a version; says how many are left."""
    made = tools.rollout.build(version, activate=activate)
    words = f"version {made.version} is {made.state}: {_progress(made)}; see `qasir models list`"
    return Answer(words, _plain(made))


def activate(tools: AdminState, version: int, request: ActivateModelRequest) -> Answer[str]:
    """Make a version active; says from when on."""
    made = tools.rollout.activate(version, request)
    when = "from now on" if tools.triton.ready() else "from the next start on"
    words = f"version {made.version} is active {when}: fingerprint {made.fingerprint}"
    return Answer(words, _plain(made))


def retire(tools: AdminState, version: int) -> Answer[str]:
    """Remove a version's vectors; its models stay in the store."""
    tools.rollout.retire(version)
    words = f"version {version} is kept no longer; `qasir models build {version}` begins again"
    return Answer(words, {"retired": version})


def listed(tools: AdminState) -> Answer[Table] | Answer[str]:
    """Every version with its generation."""
    found = tools.rollout.list()
    if not found:
        return Answer("no model yet; `dvc repro` exports one and `qasir up` adds it", [])
    return Answer(table(found), [_plain(one) for one in found])


def table(found: Sequence[Model]) -> Table:
    """Generations, a row each."""
    names = ("version", "state", "videos", "name", "backbone", "variant", "N", "fingerprint")
    result = Table(*(Column(name, no_wrap=name in UNBROKEN) for name in names))
    for one in found:
        held = one.coverage
        result.add_row(
            str(one.version),
            one.state,
            "" if one.state == "stored" else f"{held.embedded_count}/{held.video_count}",
            one.name,
            one.backbone,
            one.variant,
            " ".join(map(str, one.grid_sizes)),
            one.fingerprint,
        )
    return result


def _plain(one: Model) -> dict[str, Any]:
    return GenerationOut.of(one).model_dump(mode="json")


def _progress(one: Model) -> str:
    held = one.coverage
    failed = f", {held.failed_count} failed" if held.failed_count else ""
    return f"{held.embedded_count} of {held.video_count} videos{failed}"


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


def run(given: argparse.Namespace, tools: AdminState) -> Answer[str] | Answer[Table]:
    """One command's answer."""
    match given.command:
        case "add":
            return add(tools, given.export)
        case "build":
            return build(tools, given.version, activate=given.activate)
        case "activate":
            request = ActivateModelRequest(max_missing=given.max_missing, reranker=_fine(given))
            return activate(tools, given.version, request)
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
        with open_admin(settings) as tools:
            answer = run(given, tools)
    except QasirError as error:
        sys.exit(f"models {given.command}: {error}")
    if given.json:
        print_json(answer.plain)
    else:
        Console(highlight=False, soft_wrap=True).print(answer.words)
