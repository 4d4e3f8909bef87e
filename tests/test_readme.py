"""What the documents promise is there: targets, commands, links, settings, routes, figures."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from monitoring.dashboards import BOARDS
from monitoring.queries import rules
from qasir import errors
from qasir.cli.main import app
from qasir.contract.search import SearchResponse
from qasir.v1.retrieval_pb2 import DESCRIPTOR
from service.http.app import create_app
from service.http.problems import status_of
from service.models.__main__ import app as models_app
from service.observability.metrics import METRICS
from service.settings import PREFIX, Settings, variable

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
API = (ROOT / "docs" / "api.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("[!.]*/README.md")])
ALL = "\n".join(document.read_text() for document in DOCUMENTS)
NUMBERS = dict(enumerate(("six", "seven", "eight", "nine", "ten", "eleven", "twelve"), 6))
UNITS = {"": 1, " GiB": 1 << 30, " MiB": 1 << 20, " KiB": 1 << 10, " h": 3600, " s": 1}


def matches(pattern: str, text: str) -> list[str]:
    found = sorted({one.strip() for one in re.findall(pattern, text)})
    assert found, f"nothing like {pattern}: has the document changed its form?"
    return found


def table(text: str, head: str) -> list[list[str]]:
    """The cells below a table's head."""
    rows = text.split(f"\n{head}\n", 1)[1].split("\n\n", 1)[0].splitlines()[1:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def measured(name: str) -> Any:
    """A file of results/."""
    return json.loads((ROOT / "results" / name).read_text())


def anchors(document: Path) -> set[str]:
    """What its headings are called in a link."""
    prose = re.sub(r"```.*?```", "", document.read_text(), flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", prose, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", document.read_text()):
        path = document.parent / target if target else document
        assert path.exists(), target
        assert not anchor or anchor in anchors(path), f"{target}#{anchor}"


FOLDERS = "benchmarks|model_repository|monitoring|qasir|service|src|tests|training"


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_exist(document: Path) -> None:
    for name in re.findall(rf"(?<![\w/.])((?:{FOLDERS})/[\w./-]*\w)", document.read_text()):
        path = (ROOT / "src" if name.startswith("qasir/") else ROOT) / name
        assert path.exists() or path.with_suffix(".py").exists(), name


def test_metrics_exist() -> None:
    for name in matches(r"\b(qasir_[a-z_]*[a-z])\b", ALL):
        assert name in {metric.name for metric in METRICS}, name


def test_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in matches(r"(?:\n|`|\$ |&& )make ([a-z-]+)", ALL):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_modules_to_run() -> None:
    ours = r"python -m ((?:service|training|monitoring|benchmarks)[a-z_.]*[a-z])"
    for module in matches(ours, ALL):
        path = ROOT / module.replace(".", "/")
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists(), module


@pytest.mark.parametrize("line", matches(r"(?:\n|`|\$ |&& )qasir ([a-z][^`\n#|&]*)", ALL))
def test_commands(line: str) -> None:
    words = shlex.split(line)
    is_models = words[0] == "models" and len(words) > 1
    command: Any = get_command(models_app if is_models else app)
    words = words[1:] if is_models else words
    while words and hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    options = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= options


def test_every_command_is_in_its_document() -> None:
    rows = matches(r"\n\| (`.+?) \|", (ROOT / "docs" / "cli.md").read_text())
    told = {row.strip("`").split()[0].strip("`,"): re.findall(r"[a-z]+", row) for row in rows}
    told["down"] = told["up"]
    commands = vars(get_command(app))["commands"]
    assert told.keys() == commands.keys()
    for name, command in commands.items():
        assert set(told[name]) >= vars(command).get("commands", {}).keys(), name


def told_settings(text: str) -> Iterator[tuple[str, str]]:
    """Names with the defaults that are told beside them, in sentences and in README's table."""
    yield from re.findall(rf"`{PREFIX}([A-Z_]+)` \(([\d,]+)\)", text)
    limit_first = rf"([\d,]+(?: [GM]iB)?)(?: \w+)? \(`{PREFIX}([A-Z_]+)`\)"
    for limit, name in re.findall(limit_first, text):
        yield name, limit
    for names, defaults in re.findall(rf"\n\| (`{PREFIX}[^|]+) \| ([^|]+) \|", text):
        named = [name.strip("`") for name in names.split(", ")]
        stem = named[0].removesuffix("_HTTP_PORT")
        full = [stem + name if name.startswith("_") else name for name in named]
        for name, default in zip(full, defaults.split(", "), strict=True):
            yield name.removeprefix(PREFIX), default.strip("`")


def plain(default: str) -> str | float | None:
    """A default as settings hold it.

    >>> plain("8 GiB"), plain("1,000"), plain("0.5 s"), plain("state"), plain("unset")
    (8589934592.0, 1000.0, 0.5, 'state', None)
    """
    if default == "unset":
        return None
    said = re.fullmatch(r"([\d,]+(?:\.\d+)?)( \w+)?", default)
    return float(said[1].replace(",", "")) * UNITS[said[2] or ""] if said else default


def default_of(name: str) -> str | float | None:
    """A setting's default; a path as it stands in a checkout."""
    default = Settings.model_fields[name.lower()].default
    if isinstance(default, Path):
        return str(default.relative_to(ROOT) if default.is_absolute() else default)
    return default  # type: ignore[no-any-return]  # pydantic types it as Any


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_settings(document: Path) -> None:
    text = document.read_text()
    for name in re.findall(rf"{PREFIX}([A-Z_]*[A-Z])", text):
        assert name.lower() in Settings.model_fields, name
    for name, default in told_settings(text):
        assert plain(default) == default_of(name), name


def test_defaults_are_told() -> None:
    told = {name for document in DOCUMENTS for name, _ in told_settings(document.read_text())}
    assert {"GRPC_PORT", "MAX_UPLOAD_BYTES", "MAX_OFFSET", "JOB_STREAMS"} <= told


def test_every_setting_is_in_its_document() -> None:
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"\n\| `([A-Z_]+)` \| ([^|]+) \| [^|]+ \|", text)
    fields = {variable(field): field for field in Settings.model_fields}
    assert sorted(name for name, _ in rows) == sorted(fields)
    for name, default in rows:
        assert plain(default.strip("`")) == default_of(fields[name]), name


def told_routes(cell: str) -> Iterator[str]:
    """`/v1/jobs/{}/cancel`, `/retry`: the second begins as the first one does."""
    stem = ""
    for path in re.findall(r"/[a-z0-9/{}-]+", cell):
        whole = re.sub(r"\{[^}]+\}", "{}", path if path.startswith("/v1/") else stem + path)
        stem = re.sub(r"(\{\}).*", r"\1", whole)
        yield whole


def served_routes() -> set[str]:
    return {re.sub(r"\{[^}]+\}", "{}", path) for path in create_app().openapi()["paths"]}


def test_operations() -> None:
    rows = table(API, "| route | gRPC method | does |")
    told = {route for row in rows for route in told_routes(row[0])}
    assert {route for route in told if route.startswith("/v1/")} == served_routes()
    methods = {name for row in rows for name in re.findall(r"`(\w+)`", row[1])}
    service = DESCRIPTOR.services_by_name["RetrievalService"]
    assert methods == {method.name for method in service.methods}


def test_error_codes() -> None:
    """Every code of the error tree, with the statuses of the one table."""
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    statuses = {kind.code: status_of(kind) for kind in kinds if issubclass(kind, errors.QasirError)}
    told = {
        code: (row[1], row[2].strip("`"))
        for row in table(API, "| code | HTTP | gRPC |")
        for code in re.findall(r"`(\w+)`", row[0])
    }
    for code, status in statuses.items():
        later = f", `Retry-After: {status.retry_after}`" if status.retry_after else ""
        assert told.pop(code) == (f"{status.http.value}{later}", status.grpc), code
    assert not told


def test_the_answer_shown_has_every_field() -> None:
    shown = README.split("python3 -m json.tool\n", 1)[1].split("```", 1)[0]
    assert json.loads(shown).keys() == SearchResponse.model_fields.keys()


def test_monitoring_is_counted() -> None:
    alerts = {rule["alert"]: rule["labels"]["severity"] for rule in rules() if "alert" in rule}
    assert f"with {NUMBERS[len(BOARDS)]} dashboards" in README
    assert f"{NUMBERS[len(alerts)]} alerts".capitalize() in README
    monitoring = (ROOT / "monitoring" / "README.md").read_text()
    told = table(monitoring, "| alert | severity | fires when |")
    assert {re.sub(r"[\[\]]|\(.+", "", row[0]): row[1] for row in told} == alerts
    boards = table(monitoring, "| dashboard | answers |")
    assert [f"qasir: {row[0]}" for row in boards] == [board.title for board in BOARDS]


def test_every_module_of_the_page_is_in_its_document() -> None:
    told = set(re.findall(r"\w+\.js", (ROOT / "docs" / "page.md").read_text()))
    assert told == {path.name for path in (ROOT / "service" / "web" / "js").glob("*.js")}


def test_every_result_is_in_its_document() -> None:
    text = (ROOT / "results" / "README.md").read_text()
    for path in (ROOT / "results").iterdir():
        name = path.name + "/" * path.is_dir()
        assert path.suffix == ".svg" or path.name == "README.md" or f"`{name}" in text, name


def resolutions() -> dict[int, str]:
    """The first cell of a row, by N."""
    grids = yaml.safe_load((ROOT / "params.yaml").read_text())["grids"]
    return {int(n): f"{n}, {grid['resolution']}" for n, grid in grids.items()}


def test_recalls_are_those_of_the_results() -> None:
    recalls = measured("metrics.json")
    ious = {(f["variant"], f["grid_size"]): f["mean_iou"] for f in measured("localisation.json")}
    rows = [row for row in measured("evaluation.json") if row["sampling"] == "super-image"]
    encodings = {row["grid_size"]: row["encodes_per_video"] for row in rows}
    head = "| N, R | zero-shot | fine-tuned | first moment, mean IoU | encodings per video |"
    told = {row[0]: row[1:] for row in table(README, head)}
    for n, cell in resolutions().items():
        of = [recalls[variant][str(n)] for variant in ("zero-shot", "fine-tuned")]
        shown = [" / ".join(f"{one[k]:.1f}" for k in ("r1", "r5", "r10")) for one in of]
        iou, each = f"{ious['fine-tuned', n]:.0f} %", f"{encodings[n]:.1f}"
        assert told.pop(cell) == [*shown, iou, each]
    assert not told


def test_clips_are_those_of_the_results() -> None:
    told = {
        row[0]: row[1:] for row in table(README, "| N, R | zero-shot | fine-tuned on drawings |")
    }
    for clips in measured("clips.json"):
        variants = ("zero_shot", "fine_tuned")
        shown = [f"{clips[f'{v}_r1']:.0f} / {clips[f'{v}_r5']:.0f}" for v in variants]
        assert told.pop(resolutions()[clips["grid_size"]]) == shown
    assert not told
