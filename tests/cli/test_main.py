"""The command line: what it asks of the service, what it prints, how it ends."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from qasir.cli import main as cli
from qasir.cli.ingest import video_files
from qasir.cli.main import app
from qasir.cli.terminal import default_url
from qasir.errors import InvalidConfig, InvalidInput, ModelUnavailable, NotFound
from service.folders import StateFolders
from service.models.__main__ import app as models_app
from service.processes import free_ports
from tests.support.catalogue import lose_catalogue, six_videos
from tests.support.cli import run
from tests.support.triton import ROOT


def test_doctor_as_json_is_json_alone() -> None:
    findings = json.loads(run("doctor", "--json").stdout)
    assert {"name", "ok", "found", "fix"} <= findings[0].keys()


@pytest.mark.parametrize("url", ["localhost:3000", "127.0.0.1", "ftp://host", "http://", ""])
def test_a_url_that_is_none_is_named(url: str) -> None:
    failed = run("videos", "list", "--url", url)
    assert isinstance(failed.exception, InvalidInput)
    assert str(failed.exception) == (
        f"'{url}' is not the URL of a service; write it as http://host:port or grpc://host:port"
    )


def test_a_folder_stands_for_its_videos(tmp_path: Path) -> None:
    for name in ("b.mkv", "a.mp4", "notes.txt", "cover.jpg", "manifest.json", ".hidden.mp4"):
        (tmp_path / name).touch()
    assert [path.name for path in video_files([tmp_path])] == ["a.mp4", "b.mkv"]
    assert list(video_files([tmp_path / "notes.txt"])) == [tmp_path / "notes.txt"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file or folder at"):
        list(video_files([tmp_path / "missing"]))


def test_a_folder_without_videos_is_named(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NotFound, match=f"no video in the folder {tmp_path}"):
        list(video_files([tmp_path]))


@pytest.mark.parametrize("command", [["up"], ["down", "--json"], ["models", "list"], ["repair"]])
def test_the_stack_wants_a_checkout(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = run(*command)
    assert isinstance(failed.exception, InvalidConfig)
    assert f"{tmp_path} is not in a checkout" in str(failed.exception)


def test_a_word_of_a_command_is_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A checkout has a folder `build`, and may have one called `2`."""
    (tmp_path / "service" / "stack").mkdir(parents=True)
    (tmp_path / "service" / "stack" / "__main__.py").touch()
    (tmp_path / "service" / "models.py").write_text("import sys; print(sys.argv[1:])")
    below = tmp_path / "below"
    for name in ("build", "2", "export"):
        (below / name).mkdir(parents=True)
    monkeypatch.chdir(below)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    run("models", "build", "2", "--activate")
    run("models", "add", "export", "--json")
    run("models")
    assert capfd.readouterr().out.splitlines() == [
        "['build', '2', '--activate']",
        f"['add', '{below / 'export'}', '--json']",
        "['--help']",
    ]


def commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does something, with its name as it is typed."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield " ".join([*path, name]), command


def test_every_command_has_json() -> None:
    lacking = [
        name
        for name, command in commands(get_command(app))
        if not any("--json" in option.opts for option in command.params)
    ]
    assert lacking == ["models"], "which passes its options on"
    assert not [
        name
        for name, command in commands(get_command(models_app))
        if not any("--json" in option.opts for option in command.params)
    ]


def test_down_of_nothing_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("QASIR_STATE", str(tmp_path / "state"))
    assert run("down", "--json").exit_code == 0
    printed = capfd.readouterr()
    assert (json.loads(printed.out), printed.err) == ({"stopped": []}, "nothing was running\n")


def test_models_works_in_a_checkout_and_below(
    tiny_export: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT / "tests")
    monkeypatch.setenv("QASIR_STATE", str(tmp_path / "state"))
    assert run("models", "add", str(tiny_export)).exit_code == 0
    assert "version 1 is 'tiny'" in capfd.readouterr().out
    assert run("models", "activate", "3").exit_code == 1
    assert "no model version 3" in capfd.readouterr().err


def test_repair_brings_lost_videos_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    folders = six_videos(StateFolders(tmp_path / "state"))
    lose_catalogue(folders)
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("QASIR_STATE", str(tmp_path / "state"))
    assert run("repair", "--json").exit_code == 0
    report = json.loads(capfd.readouterr().out)
    assert len(report["ready"]) + len(report["queued"]) == 6
    assert run("repair").exit_code == 0
    assert capfd.readouterr().out.startswith("restored 0 videos: 0 are searchable")


def test_an_error_is_one_message_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    assert isinstance(run("search", "a dog", "--url", url).exception, ModelUnavailable)
    monkeypatch.setattr("sys.argv", ["qasir", "search", "a dog", "--url", url])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"qasir: no answer from a qasir service at {url}")


def test_the_url_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QASIR_HTTP_PORT", "4711")
    monkeypatch.delenv("QASIR_HOST", raising=False)
    assert default_url() == "http://127.0.0.1:4711"


def test_tune_marks_what_it_chose(results: Path) -> None:
    shown = run("tune", "--budget", "15 s per video-hour", "--results", str(results))
    assert shown.exit_code == 0, shown.output
    (row,) = [line for line in shown.output.splitlines() if ">" in line]
    assert row.split()[:4] == [">", "2", "256", "1"]
    assert "27.5 / 55.0 / 65.0" in row
    assert row.split()[-1] == "12.0"
    words, advice = shown.output.splitlines()[-2:]
    assert words == (
        "N = 2, R = 256, 1 fps, mode accurate, fine-tuned lite: "
        "R@1 27.5 %, R@5 55.0 %, R@10 65.0 %, for 12 s per video-hour"
    )
    assert advice.startswith('in params.yaml: grids."2".resolution 256, encode.fps 1, serve.grid')


def test_tune_as_json_holds_every_candidate(results: Path) -> None:
    shown = run("tune", "--min-recall", "55", "--json", "--results", str(results))
    answer = json.loads(shown.stdout)
    assert (answer["chosen"]["grid_size"], answer["chosen"]["r5"]) == (2, 55.0)
    assert len(answer["candidates"]) == 8


def test_tune_reads_what_the_checkout_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT / "docs")
    chosen = json.loads(run("tune", "--min-recall", "1", "--json").stdout)["chosen"]
    assert chosen["r5"] >= 1


def test_tune_without_results_says_how_to_get_them(tmp_path: Path) -> None:
    failed = run("tune", "--min-recall", "55", "--results", str(tmp_path))
    assert isinstance(failed.exception, NotFound)
