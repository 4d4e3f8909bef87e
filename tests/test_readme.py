"""What the documents promise is there: targets, commands, links, settings, routes."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from qasir.cli import app
from service.api.app import create_app
from service.settings import Settings

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("*/README.md")])


def matches(pattern: str, text: str = README) -> list[str]:
    found = sorted(set(re.findall(pattern, text)))
    assert found, f"nothing like {pattern}: has the document changed its form?"
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text()):
        assert (document.parent / target).exists(), target


def test_make_targets() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in matches(r"(?:\n|`|\$ |&& )make ([a-z]+)"):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_commands() -> None:
    assert set(matches(r"\nqasir ([a-z]+)")) <= set(vars(get_command(app))["commands"])


def test_every_command_is_in_its_document() -> None:
    rows = matches(r"\n\| (`.+?) \|", (ROOT / "docs" / "cli.md").read_text())
    told = {row.strip("`").split()[0].strip("`,"): re.findall(r"[a-z]+", row) for row in rows}
    told["down"] = told["up"]
    commands = vars(get_command(app))["commands"]
    assert told.keys() == commands.keys()
    for name, command in commands.items():
        assert set(told[name]) >= vars(command).get("commands", {}).keys(), name


def test_settings() -> None:
    for name in matches(r"`QASIR_([A-Z_]+)`"):
        assert name.lower() in Settings.model_fields, name


def test_routes() -> None:
    document = create_app().openapi()["paths"]
    shape = {re.sub(r"\{[^}]+\}", "{}", path) for path in document}
    for path in matches(r"(/v1/[a-z-]+(?:/\{[a-z]+\})?(?:/[a-z-]+)?)[`?/]"):
        assert re.sub(r"\{[^}]+\}", "{}", path) in shape, path
