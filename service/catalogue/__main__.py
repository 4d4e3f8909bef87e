"""`python -m service.catalogue`, which `qasir repair` runs."""

from collections.abc import Iterator
from dataclasses import asdict

import typer
from rich.progress import Progress

from qasir.cli.terminal import AsJson, complaints, print_json, run
from service.catalogue.repair import RepairReport, repair
from service.observability.logs import configure_logs
from service.settings import load_settings

app = typer.Typer(add_completion=False, pretty_exceptions_show_locals=False)


@app.command()
def repair_command(as_json: AsJson = False) -> None:
    """Rebuild the catalogue from media and vector files, and bring orphans back.

    Stop the stack first: `qasir down`.
    """
    settings = load_settings()
    configure_logs("repair")
    with Progress(console=complaints, transient=True) as progress:
        bar = progress.add_task("reading", total=None)

        def show(done: int, total: int, video_id: str) -> None:
            progress.update(bar, total=total, completed=done, description=video_id)

        report = repair(settings.folders, show)
    if as_json:
        print_json(asdict(report))
        return
    for line in summary(report):
        typer.echo(line)


def summary(report: RepairReport) -> Iterator[str]:
    """Say what a repair did, and what it left alone."""
    count = len(report.ready) + len(report.queued)
    yield (
        f"restored {count} videos: {len(report.ready)} are searchable, "
        f"{len(report.queued)} are queued for ingest"
    )
    if report.replaced is not None:
        yield f"the damaged catalogue is kept at {report.replaced}"
    for names, words in (
        (report.renamed_vectors, "registered vector files of known videos again"),
        (report.changed, "the file is not the one that was uploaded"),
        (report.deleted, "left alone, because a user had deleted it"),
        (report.unreadable, "this vector file cannot be read"),
        (report.without_media, "vectors without media, left alone"),
    ):
        if names:
            yield f"{words}: {', '.join(names)}"


if __name__ == "__main__":
    run(app, "qasir repair")
