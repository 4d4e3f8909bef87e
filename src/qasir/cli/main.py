"""The `qasir` command: run the stack, fill the library, search it."""

import typer

from qasir.cli.checkout import PASS_ON, down, models, repair, up
from qasir.cli.doctor import doctor
from qasir.cli.ingest import ingest
from qasir.cli.library import jobs_app, videos_app
from qasir.cli.search import search
from qasir.cli.terminal import run
from qasir.cli.tune import tune

app = typer.Typer(
    no_args_is_help=True, help="Search long videos by text.", pretty_exceptions_show_locals=False
)
app.command()(ingest)
app.command()(search)
app.add_typer(videos_app, name="videos")
app.add_typer(jobs_app, name="jobs")
app.command()(tune)
app.command()(doctor)
# Commands of the checkout that the current folder is in.
CHECKOUT = "Commands that need a checkout"
app.command(rich_help_panel=CHECKOUT)(up)
app.command(rich_help_panel=CHECKOUT)(down)
app.command(rich_help_panel=CHECKOUT)(repair)
app.command(rich_help_panel=CHECKOUT, context_settings=PASS_ON, add_help_option=False)(models)


def main() -> None:
    """Run the `qasir` command."""
    run(app, "qasir")
