"""The `qasir` command: run the stack, fill the library, search it."""

import subprocess
import sys
from pathlib import Path

import typer

from qasir.cli.doctor import doctor
from qasir.cli.ingest import ingest
from qasir.cli.library import jobs_app, videos_app
from qasir.cli.search import search
from qasir.cli.terminal import AsJson, find_checkout, run
from qasir.cli.tune import tune
from qasir.errors import InvalidConfig

app = typer.Typer(
    no_args_is_help=True, help="Search long videos by text.", pretty_exceptions_show_locals=False
)
app.command()(ingest)
app.command()(search)
app.add_typer(videos_app, name="videos")
app.add_typer(jobs_app, name="jobs")
app.command()(tune)
app.command()(doctor)

# Commands that run modules of the checkout that the current folder is in: the wheel contains
# neither service nor models.
CHECKOUT = "Commands that need a checkout"
# Passes every option on, --help included, to a command line of the checkout.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


@app.command(rich_help_panel=CHECKOUT)
def up(as_json: AsJson = False) -> None:
    """Start Triton, worker and service in the background, and wait until they are ready."""
    run_in_checkout("service.stack", "up", *json_option(as_json))


@app.command(rich_help_panel=CHECKOUT)
def down(as_json: AsJson = False) -> None:
    """Stop Triton, worker and service."""
    run_in_checkout("service.stack", "down", *json_option(as_json))


@app.command(rich_help_panel=CHECKOUT)
def repair(as_json: AsJson = False) -> None:
    """Rebuild a lost or damaged catalogue from media and vector files; stop the stack first."""
    run_in_checkout("service.catalogue", *json_option(as_json))


@app.command(rich_help_panel=CHECKOUT, context_settings=PASS_ON, add_help_option=False)
def models(context: typer.Context) -> None:
    """List, add, build, activate and retire model versions: see `qasir models --help`."""
    words = context.args or ["--help"]
    # A relative path is relative to the current folder, not to the checkout's.
    if words[0] == "add":
        words[1:] = [w if w.startswith("-") else str(Path(w).absolute()) for w in words[1:]]
    run_in_checkout("service.models", *words)


def run_in_checkout(module: str, *arguments: str) -> None:
    """Run a module of the checkout, and exit as it does.

    Raises:
        InvalidConfig: the current folder is not in a checkout.
    """
    here = Path.cwd()
    root = find_checkout(here)
    if root is None:
        raise InvalidConfig(
            f"{here} is not in a checkout of qasir, which this command needs; clone the project, "
            f"run `make setup`, and run the command there"
        )
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=root, check=False)
    raise typer.Exit(done.returncode)


def json_option(as_json: bool) -> list[str]:
    return ["--json"] if as_json else []


def main() -> None:
    run(app, "qasir")
