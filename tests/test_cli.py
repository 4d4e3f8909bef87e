"""The command line: what it asks of the service, what it prints, how it ends."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner, Result

from qasir import cli
from qasir.cli import app, files_of
from qasir.errors import InvalidConfig, InvalidInput, ModelUnavailable, NotFound
from qasir.results import Video
from qasir.tables import clock, length_of
from qasir.terminal import console, default_url
from service.processes import free_ports
from tests.fixtures.triton import ROOT
from tests.test_client import FOUND, JOB, VIDEO, Answers, answers
from tests.test_tune import results

__all__ = ["answers", "results"]


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "width", 120)


def test_search_prints_a_table(answers: Answers) -> None:
    answers.to("POST /v1/search", FOUND)
    shown = run("search", "a dog", "--top", "3", "--url", answers.url)
    assert shown.exit_code == 0
    (row,) = [line for line in shown.output.splitlines() if "dog.mp4" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["1", "0.310", "v1", "0:01.0 to 0:02.5", "dog.mp4"]
    assert "1 videos, 0.00 h, 4 ms" in shown.output
    assert json.loads(answers.asked[0][1])["top_k"] == 3


def test_search_of_an_empty_library_says_how_to_fill_it(answers: Answers) -> None:
    answers.to(
        "POST /v1/search", {**FOUND, "results": [], "searched": {"videos": 0, "seconds": 0.0}}
    )
    shown = run("search", "a dog", "--url", answers.url)
    assert shown.exit_code == 0
    assert "qasir ingest" in shown.output


def test_a_provisional_answer_says_so(answers: Answers) -> None:
    fine = {"fingerprint": "ab", "grid_size": 1, "scored": 7, "asked": 20}
    answers.to("POST /v1/search", {**FOUND, "mode": "hybrid", "provisional": True, "fine": fine})
    shown = run("search", "a dog", "--mode", "hybrid", "--url", answers.url)
    assert "7 of 20 videos were scored by the fine model in time" in shown.output


def test_a_video_that_failed_has_no_length(answers: Answers) -> None:
    failed = {**VIDEO, "state": "failed", "duration": 0.0, "width": 0}
    answers.to("GET /v1/videos", {"videos": [failed], "offset": 0, "limit": 50, "total": 1})
    assert "0:00.0" not in run("videos", "list", "--url", answers.url).output


def test_search_as_json_is_json_alone(answers: Answers) -> None:
    answers.to("POST /v1/search", FOUND)
    shown = run("search", "a dog", "--json", "--url", answers.url)
    assert json.loads(shown.stdout)["results"][0]["video"]["id"] == "v1"


def test_videos_list_show_and_delete(answers: Answers) -> None:
    answers.to("GET /v1/videos", {"videos": [VIDEO], "offset": 0, "limit": 50, "total": 7})
    error = {"code": "no_frames", "detail": "not one frame decodes", "retryable": False}
    answers.to("GET /v1/videos/v1", {**VIDEO, "job": {**JOB, "state": "failed", "error": error}})
    answers.to("DELETE /v1/videos/v1", "", status=204)
    listed = run("videos", "list", "--url", answers.url).output
    assert "0:08.0" in listed
    assert "64x48" in listed
    assert "1 of 7 videos" in listed
    as_json = run("videos", "list", "--json", "--url", answers.url).stdout
    (video,) = json.loads(as_json)["videos"]
    assert (video["id"], video["created"]) == ("v1", "2026-01-02T03:04:05+00:00")
    shown = json.loads(run("videos", "show", "v1", "--url", answers.url).stdout)
    assert (shown["codec"], shown["job"]["error"]["detail"]) == ("h264", "not one frame decodes")
    assert run("videos", "delete", "v1", "--url", answers.url).output == "deleted v1\n"


def test_jobs_are_shown_in_a_table(answers: Answers) -> None:
    running = {**JOB, "state": "running", "stage": "encode", "progress": 0.42, "eta_seconds": 7.0}
    answers.to("GET /v1/jobs", {"jobs": [running], "offset": 0, "limit": 50})
    shown = run("jobs", "list", "--url", answers.url).output
    (row,) = [line for line in shown.splitlines() if "j1" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["j1", "v1", "running, encode", "42%", "7 s", ""]
    answers.to("POST /v1/jobs/j1/cancel", {**JOB, "state": "cancelled"})
    assert "cancelled" in run("jobs", "cancel", "j1", "--url", answers.url).output


def test_search_passes_its_options_on(answers: Answers, tmp_path: Path) -> None:
    answers.to("POST /v1/search", FOUND)
    (tmp_path / "dog.jpg").write_bytes(b"picture")
    options = ["--mode", "hybrid", "--profile", "lite", "--grid-size", "3", "--context", "2"]
    options += ["--group-by", "moment", "--image", str(tmp_path / "dog.jpg")]
    more = ["--filter", '{"title": {"contains": "dog"}}']
    assert run("search", *options, *more, "--url", answers.url).exit_code == 0
    assert json.loads(answers.asked[0][1]) == {
        "top_k": 10,
        "mode": "hybrid",
        "profile": "lite",
        "grid_size": 3,
        "group_by": "moment",
        "filter": {"title": {"contains": "dog"}},
        "example": {"image": "cGljdHVyZQ=="},
        "context_seconds": 2.0,
    }
    refused = run("search", "a dog", "--filter", "[1]", "--url", answers.url)
    assert isinstance(refused.exception, InvalidInput)


def test_doctor_as_json_is_json_alone() -> None:
    findings = json.loads(run("doctor", "--json").stdout)
    assert {"name", "ok", "found", "fix"} <= findings[0].keys()


@pytest.mark.parametrize("url", ["localhost:3000", "127.0.0.1", "ftp://host", "http://", ""])
def test_a_url_that_is_none_is_named(url: str) -> None:
    failed = run("videos", "list", "--url", url)
    assert isinstance(failed.exception, InvalidInput)
    assert str(failed.exception) == f"'{url}' is no URL of a service; write it as http://host:port"


def test_a_folder_stands_for_its_videos(tmp_path: Path) -> None:
    for name in ("b.mkv", "a.mp4", "notes.txt", "cover.jpg", "manifest.json", ".hidden.mp4"):
        (tmp_path / name).touch()
    assert [path.name for path in files_of([tmp_path])] == ["a.mp4", "b.mkv"]
    assert list(files_of([tmp_path / "notes.txt"])) == [tmp_path / "notes.txt"]


def test_a_path_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file or folder at"):
        list(files_of([tmp_path / "missing"]))


def test_a_folder_without_videos_is_named(tmp_path: Path) -> None:
    (tmp_path / "inner").mkdir()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(NotFound, match=f"no video in the folder {tmp_path}"):
        list(files_of([tmp_path]))


@pytest.mark.parametrize("command", [["up"], ["down", "--json"], ["models", "list"]])
def test_the_stack_wants_a_checkout(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    failed = run(*command)
    assert isinstance(failed.exception, InvalidConfig)
    assert f"{tmp_path} is in no checkout" in str(failed.exception)


def commands(group: Any, *path: str) -> Iterator[tuple[str, Any]]:
    """Every command that does something, with its name as it is typed."""
    for name, one in group.commands.items():
        if hasattr(one, "commands"):
            yield from commands(one, *path, name)
        else:
            yield " ".join([*path, name]), one


def test_every_command_has_json() -> None:
    lacking = [
        name
        for name, one in commands(get_command(app))
        if not any("--json" in option.opts for option in one.params)
    ]
    # Its own parser has: tests/service/test_models.py.
    assert lacking == ["models"]


def test_down_of_nothing_as_json(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("QASIR_STATE", str(tmp_path / "state"))
    assert run("down", "--json").exit_code == 0
    told = capfd.readouterr()
    assert (json.loads(told.out), told.err) == ({"stopped": []}, "nothing was running\n")


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


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0:00.0"), (59.96, "1:00.0"), (3599.99, "1:00:00.0")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_damaged_video_shows_how_much_of_it_is_searched() -> None:
    whole = Video("v1", "a", "ready", 60.0, 64, 48, "h264", 9, datetime.now(UTC), 59.5)
    assert length_of(whole) == "1:00.0"
    assert length_of(replace(whole, indexed_seconds=9.0)) == "1:00.0 (0:09.0 readable)"
    assert length_of(replace(whole, indexed_seconds=0.0, state="queued")) == "1:00.0"
    assert length_of(replace(whole, duration=0.0, state="failed")) == ""


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
