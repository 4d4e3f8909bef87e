"""`qasir`: run the stack, fill the library, search it."""

import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from qasir.cli import doctor as doctors
from qasir.cli.ingest import ingest_files
from qasir.cli.library import jobs_app, videos_app
from qasir.cli.search import search
from qasir.cli.tables import candidates_table
from qasir.cli.terminal import (
    AsJson,
    Url,
    complaints,
    console,
    default_url,
    open_client,
    print_json,
)
from qasir.cli.tune import (
    TuneGoal,
    choose,
    describe,
    expected,
    how_to_serve,
    parse_budget,
    read_candidates,
    shortlist,
)
from qasir.errors import InvalidConfig, NotFound, QasirError
from qasir.files import may_be_video

app = typer.Typer(no_args_is_help=True, help="Search long videos by text.")
app.add_typer(videos_app, name="videos")
app.add_typer(jobs_app, name="jobs")


@app.command()
def up(as_json: AsJson = False) -> None:
    """Start triton, worker and service in the background, and wait for them (in a checkout)."""
    in_checkout("service.stack", "up", *(["--json"] if as_json else []))


@app.command()
def down(as_json: AsJson = False) -> None:
    """Stop triton, worker and service (in a checkout)."""
    in_checkout("service.stack", "down", *(["--json"] if as_json else []))


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def models(context: typer.Context) -> None:
    """Model sets: list, add, build, activate, retire; `qasir models -h` (in a checkout)."""
    command, *rest = context.args or ["--help"]
    # A relative path means the caller's folder, not the checkout's; other words are no paths.
    if command == "add":
        rest = [word if word.startswith("-") else str(Path(word).absolute()) for word in rest]
    in_checkout("service.models", command, *rest)


@app.command()
def ingest(
    paths: Annotated[
        list[Path], typer.Argument(help="Videos, or folders of videos.", metavar="PATH")
    ],
    url: Url,
    as_json: AsJson = False,
) -> None:
    """Upload videos and wait until they are searchable; again, to go on after an interruption."""
    with open_client(url) as client:
        done = ingest_files(client, list(files_of(paths)), complaints if as_json else console)
    if as_json:
        print_json([asdict(one) for one in done])
    for one in done:
        if (trouble := one.error or one.damage) is not None:
            complaints.print(f"{one.path}: {trouble}")
    if any(one.error is not None for one in done):
        raise typer.Exit(1)


app.command()(search)


@app.command()
def tune(
    budget: Annotated[
        str | None, typer.Option(help="What ingestion may cost: '30 s per video-hour'.")
    ] = None,
    min_recall: Annotated[float | None, typer.Option(help="Least recall, in percent.")] = None,
    at: Annotated[int, typer.Option(help="K of that recall: 1, 5 or 10.")] = 5,
    query_seconds: Annotated[float, typer.Option(help="What a hybrid query may cost.")] = 1.0,
    variant: Annotated[str | None, typer.Option(help="zero-shot | fine-tuned.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of what was measured; the checkout's if not given.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose grid size, resolution, fps and mode for a budget or a recall, as measured."""
    seconds = None if budget is None else parse_budget(budget)
    wish = TuneGoal(seconds, min_recall, at, query_seconds)
    measured = results or doctors.this_machine().folder / "results"
    candidates = read_candidates(measured, variant)
    chosen = choose(candidates, wish)
    if as_json:
        print_json({"chosen": asdict(chosen), "candidates": [asdict(c) for c in candidates]})
        return
    console.print(candidates_table(shortlist(candidates, chosen, wish), chosen))
    console.print(f"{describe(chosen)}: {expected(chosen)}", soft_wrap=True)
    console.print(escape(how_to_serve(chosen)), soft_wrap=True)


@app.command()
def doctor(
    url: Annotated[
        str | None,
        typer.Option(help="Check only what a client needs: a service that answers here."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check what this machine needs to run qasir, and name the fix.

    In a checkout that is the whole stack; elsewhere it is a service that answers.
    """
    machine = doctors.this_machine()
    if url is None and doctors.checkout(machine.folder) is not None:
        findings = doctors.diagnose(machine)
    else:
        findings = doctors.diagnose_client(url or default_url())
    if as_json:
        print_json([{**asdict(finding), "ok": finding.ok} for finding in findings])
    for finding in [] if as_json else findings:
        verdict = "[green]ok[/]     " if finding.ok else "[red]problem[/]"
        console.print(f"{verdict} {finding.name}: {escape(finding.found)}", soft_wrap=True)
        if not finding.ok:
            console.print(f"        fix: {escape(finding.fix)}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def files_of(paths: Sequence[Path]) -> Iterator[Path]:
    """The files that are meant: a folder stands for what may be a video in it.

    Raises:
        NotFound: a path is neither, or a folder of none.
    """
    for path in paths:
        if path.is_dir():
            inside = (p for p in path.iterdir() if p.is_file() and p.name[0] != ".")
            videos = sorted(filter(may_be_video, inside))
            if not videos:
                raise NotFound(f"no video in the folder {path}; folders in it are not looked into")
            yield from videos
        elif path.is_file():
            yield path
        else:
            raise NotFound(f"no file or folder at {path}")


def in_checkout(module: str, *arguments: str) -> None:
    """Run a module of the project, which the wheel does not carry, and exit as it does.

    Raises:
        InvalidConfig: the current folder is in no checkout.
    """
    here = Path.cwd()
    root = doctors.checkout(here)
    if root is None:
        raise InvalidConfig(
            f"{here} is in no checkout of qasir, and models are served from one; clone the "
            f"project, `make setup`, and run this there"
        )
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=root, check=False)
    raise typer.Exit(done.returncode)


@contextmanager
def complaining() -> Iterator[None]:
    """Turn an error of ours into one message and exit code 1."""
    try:
        yield
    except QasirError as error:
        complaints.print(f"qasir: {error}")
        sys.exit(1)


def main() -> None:
    """The `qasir` command."""
    with complaining():
        app()
