"""`qasir models`: the life of a model version from the command line."""

import json
from pathlib import Path

import pytest

from qasir.cli.terminal import run
from qasir.manifest import read_manifest
from service.models.__main__ import app


class Commands:
    """Runs `qasir models` in this process; returns what it printed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def run(self, *arguments: str) -> str:
        exit_code, out, err = self._run(*arguments)
        assert exit_code == 0, err
        return out

    def fail(self, *arguments: str) -> str:
        exit_code, out, err = self._run(*arguments)
        assert (exit_code, out) == (1, "")
        return err

    def _run(self, *arguments: str) -> tuple[object, str, str]:
        self._monkeypatch.setattr("sys.argv", ["models", *arguments])
        with pytest.raises(SystemExit) as ended:
            run(app, "qasir models")
        return ended.value.code, *self._capsys.readouterr()


@pytest.fixture
def commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Commands:
    monkeypatch.setenv("QASIR_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("QASIR_TRITON_GRPC_PORT", "1")
    monkeypatch.setenv("COLUMNS", "200")
    return Commands(monkeypatch, capsys)


def test_a_model_is_added_listed_and_activated(commands: Commands, tiny_export: Path) -> None:
    fingerprint = read_manifest(tiny_export).fingerprint
    assert "no model yet" in commands.run("list")
    assert commands.run("list", "--json") == "[]\n"
    added = commands.run("add", str(tiny_export))
    assert added == f"version 1 is 'tiny', fingerprint {fingerprint}\n"
    assert "stored" in commands.run("list")
    assert "from the next start on" in commands.run("activate", "1")
    listed = commands.run("list")
    for word in ("active", "0/0", fingerprint):
        assert word in listed
    for command in (("add", str(tiny_export)), ("build", "1"), ("activate", "1")):
        answer = json.loads(commands.run(*command, "--json"))
        assert (answer["version"], answer["fingerprint"]) == (1, fingerprint), command
    assert [model["state"] for model in json.loads(commands.run("list", "--json"))] == ["active"]


def test_a_reranker_is_a_version_with_a_grid_size(commands: Commands, tiny_export: Path) -> None:
    commands.run("add", str(tiny_export))
    reranker = ("--reranker", "1", "--reranker-grid-size", "2", "-k", "5")
    assert json.loads(commands.run("activate", "1", *reranker, "--json"))["state"] == "active"
    assert "no model version 7" in commands.fail("activate", "1", "--reranker", "7")


def test_an_error_is_one_message(commands: Commands, tiny_export: Path) -> None:
    commands.run("add", str(tiny_export))
    commands.run("activate", "1")
    assert commands.fail("activate", "5").startswith("qasir: no model version 5")
    assert commands.fail("retire", "1", "--json").startswith("qasir: model version 1 serves")
