"""Runs the command line in this process."""

from typer.testing import CliRunner, Result

from qasir.cli.main import app


def run(*arguments: str) -> Result:
    """Run `qasir` with these arguments."""
    return CliRunner().invoke(app, list(arguments))
