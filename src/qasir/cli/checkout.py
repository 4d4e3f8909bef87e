"""Commands that run modules of a checkout: the wheel contains neither service nor models."""

import subprocess
import sys
from pathlib import Path

import typer

from qasir.cli.terminal import AsJson
from qasir.errors import InvalidConfig

# Passes every option on, --help included, to a command line of the checkout.
PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True}


def up(as_json: AsJson = False) -> None:
    """Start Triton, worker and service in the background, and wait until they are ready."""
    run_in_checkout("service.stack", "up", *_json(as_json))


def down(as_json: AsJson = False) -> None:
    """Stop Triton, worker and service."""
    run_in_checkout("service.stack", "down", *_json(as_json))


def models(context: typer.Context) -> None:
    """List, add, build, activate and retire model versions: see `qasir models --help`."""
    words = context.args or ["--help"]
    # A relative path is relative to the current folder, not to the checkout's.
    if words[0] == "add":
        words[1:] = [w if w.startswith("-") else str(Path(w).absolute()) for w in words[1:]]
    run_in_checkout("service.models", *words)


def repair(as_json: AsJson = False) -> None:
    """Rebuild a lost or damaged catalogue from media and vector files; stop the stack first."""
    run_in_checkout("service.catalogue", *_json(as_json))


def find_checkout(folder: Path) -> Path | None:
    """Find the checkout of qasir that a folder is in."""
    around = (folder, *folder.parents)
    stack = Path("service", "stack", "__main__.py")
    return next((path for path in around if (path / stack).is_file()), None)


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


def _json(as_json: bool) -> list[str]:
    return ["--json"] if as_json else []
