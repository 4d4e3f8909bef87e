"""`python -m service.models`, which `qasir models` runs; no service need run."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table

from qasir.cli.terminal import AsJson, print_json, run
from qasir.contract.models import ActivateModelRequest, Model, Reranker
from service.models.rollout import Rollout, coverage_line, open_rollout
from service.observability.logs import configure_logs
from service.settings import load_settings

UNBROKEN = ("state", "videos", "name", "fingerprint")

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="List, add, build, activate and retire model versions.",
    pretty_exceptions_show_locals=False,
)
console = Console(highlight=False, soft_wrap=True)

Version = Annotated[int, typer.Argument(help="See `qasir models list`.", metavar="VERSION")]


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List every version, and how many videos have its embeddings."""
    with _opened() as rollout:
        models = rollout.list()
    if as_json:
        print_json(models)
    elif models:
        console.print(models_table(models))
    else:
        console.print("no model yet; `make repro` exports one and `qasir up` adds it")


@app.command("add")
def add_model(
    export: Annotated[
        Path, typer.Argument(help="Folder of an export, such as build/export.", metavar="FOLDER")
    ],
    as_json: AsJson = False,
) -> None:
    """Verify an export and copy it into the store, as the next version."""
    with _opened() as rollout:
        model = rollout.get(rollout.store.add(export))
    words = f"version {model.version} is '{model.name}', fingerprint {model.fingerprint}"
    _print(words, model, as_json)


@app.command("build")
def build_model(
    version: Version,
    activate: Annotated[
        bool, typer.Option("--activate", help="Activate it once no video is missing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Let the worker encode every video with a version; retries those that failed."""
    with _opened() as rollout:
        model = rollout.build(version, activate=activate)
    _print(coverage_line(model), model, as_json)


@app.command("activate")
def activate_model(
    version: Version,
    max_missing: Annotated[
        int, typer.Option(help="Activate although this many videos have no embeddings yet.")
    ] = 0,
    reranker: Annotated[
        int | None, typer.Option(help="Version that reranks in mode hybrid.", metavar="VERSION")
    ] = None,
    reranker_grid_size: Annotated[
        int, typer.Option(help="Grid size of the reranker.", metavar="N")
    ] = 1,
    k: Annotated[int, typer.Option("-k", help="How many videos the reranker scores.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Answer every later search with a version; activate the previous one to roll back."""
    reranks = None
    if reranker is not None:
        reranks = Reranker(version=reranker, grid_size=reranker_grid_size, k=k)
    request = ActivateModelRequest(max_missing=max_missing, reranker=reranks)
    with _opened() as rollout:
        model = rollout.activate(version, request)
        when = "from now on" if rollout.triton.ready() else "from the next start on"
    words = f"version {model.version} is active {when}: fingerprint {model.fingerprint}"
    _print(words, model, as_json)


@app.command("retire")
def retire_model(version: Version, as_json: AsJson = False) -> None:
    """Remove the embeddings of a version; the model stays in the store."""
    with _opened() as rollout:
        rollout.retire(version)
    words = f"version {version} is retired; `qasir models build {version}` builds it again"
    _print(words, {"retired": version}, as_json)


def models_table(models: Sequence[Model]) -> Table:
    """Show a row for each model version."""
    names = ("version", "state", "videos", "name", "backbone", "variant", "N", "fingerprint")
    table = Table(*(Column(name, no_wrap=name in UNBROKEN) for name in names))
    for model in models:
        count = f"{model.coverage.embedded_count}/{model.coverage.video_count}"
        videos = "" if model.state == "stored" else count
        sizes = " ".join(map(str, model.grid_sizes))
        words = (model.name, model.backbone, model.variant, sizes, model.fingerprint)
        table.add_row(str(model.version), model.state, videos, *words)
    return table


@contextmanager
def _opened() -> Iterator[Rollout]:
    settings = load_settings()
    settings.folders.create()
    with open_rollout(settings) as rollout:
        yield rollout


def _print(words: str, answer: Model | dict[str, int], as_json: bool) -> None:
    if as_json:
        print_json(answer)
    else:
        console.print(words)


if __name__ == "__main__":
    # To standard error, because standard output is for the answer.
    configure_logs("models")
    run(app, "qasir models")
