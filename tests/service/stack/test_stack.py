"""The stack as a whole: up, down, status, in words and as JSON."""

import http.server
import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from qasir.cli.terminal import run
from qasir.errors import Conflict, NotFound, QasirError
from service.models.store import ModelStore
from service.processes import Process
from service.settings import Settings
from service.stack import control as stack
from tests.support.processes import BROKEN, SILENT, fake, marked
from tests.support.triton import stack_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return stack_settings(tmp_path / "state")


@pytest.fixture
def export(tiny_export: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stack, "EXPORT", tiny_export)
    monkeypatch.setattr(stack.add_export, "__defaults__", (tiny_export,))
    return tiny_export


def stack_of(monkeypatch: pytest.MonkeyPatch, *members: Process) -> list[str]:
    """Let the stack be these processes; what it says goes to the list."""
    monkeypatch.setattr(stack, "processes", lambda _: list(members))
    return []


def test_up_starts_what_is_missing_and_down_leaves_nothing(
    settings: Settings, export: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fake(run_folder, "one"), fake(run_folder, "two")
    lines = stack_of(monkeypatch, one, two)
    stack.up(settings, lines.append)
    assert [line.split()[0] for line in lines] == ["one", "two", "up:"]
    assert stack.status(settings).ready
    first = one.leader()

    lines.clear()
    stack.up(settings, lines.append)
    assert lines == [f"already up: http://127.0.0.1:{settings.http_port}"]

    leader = two.leader()
    assert leader is not None
    leader.kill()
    psutil.wait_procs([leader], timeout=5)
    assert not stack.status(settings).ready
    lines.clear()
    stack.up(settings, lines.append)
    assert [line.split()[0] for line in lines] == ["two", "up:"]
    assert one.leader() == first

    lines.clear()
    stack.down(settings, lines.append)
    stack.down(settings, lines.append)
    assert lines == ["stopped two, one", "nothing was running"]
    assert marked(run_folder) == []


def test_up_is_not_content_with_a_process_that_does_not_answer(
    settings: Settings, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = fake(run_folder, "one", SILENT, ready_seconds=0.3)
    lines = stack_of(monkeypatch, silent)
    silent.start()
    try:
        with pytest.raises(QasirError, match="one does not answer"):
            stack.up(settings, lines.append)
        assert lines == []
        assert silent.leader() is not None
    finally:
        silent.stop()


def test_up_that_fails_stops_what_it_started(
    settings: Settings, export: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = stack_of(monkeypatch, fake(run_folder, "one"), fake(run_folder, "two", BROKEN))
    with pytest.raises(QasirError, match="two ended while starting"):
        stack.up(settings, lines.append)
    assert marked(run_folder) == []


def test_up_with_a_taken_port_starts_nothing(
    settings: Settings, export: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fake(run_folder, "one"), fake(run_folder, "two")
    lines = stack_of(monkeypatch, one, two)
    number = two.ports[0].number
    with http.server.HTTPServer(("127.0.0.1", number), http.server.BaseHTTPRequestHandler):
        with pytest.raises(Conflict, match="set QASIR_TWO_PORT to a free port"):
            stack.up(settings, lines.append)
        assert marked(run_folder) == []


def test_an_export_is_added_once_and_a_choice_by_hand_stays(
    settings: Settings, tiny_export: Path, tmp_path: Path
) -> None:
    store, lines = ModelStore(settings.state), list[str]()
    with pytest.raises(NotFound, match="run `dvc repro export`"):
        stack.add_export(settings, lines.append, tmp_path / "no-export")
    stack.add_export(settings, lines.append, tiny_export)
    assert store.active().version == 1
    stack.add_export(settings, lines.append, tiny_export)
    assert len(store.list()) == 1
    stack.add_export(settings, lines.append, tmp_path / "no-export")
    assert store.active().version == 1
    assert lines == ["version 1 is active: 0 of 0 videos; see `qasir models list`"]


def test_children_hear_of_every_setting(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    (triton, _, _) = stack.processes(settings)
    for name in ("QASIR_STATE", "QASIR_TRITON_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in triton.variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["stack", "status"])
    assert Settings() == settings


@pytest.fixture
def command(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., int]:
    """Run `python -m service.stack` with these settings; return its exit code."""
    for name, value in stack.processes(settings)[0].variables.items():
        if name != "PYTHONPATH":
            monkeypatch.setenv(name, value)

    def run_stack(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["stack", *arguments])
        with pytest.raises(SystemExit) as ended:
            run(stack.app, "stack")
        assert isinstance(ended.value.code, int)
        return ended.value.code

    return run_stack


def test_status_of_nothing_is_failure(
    command: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert command("status") == 1
    assert capsys.readouterr().out.count("not running") == 3


def test_up_and_down_as_json_are_json_alone(
    command: Callable[..., int],
    settings: Settings,
    export: Path,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    one, two = fake(run_folder, "one"), fake(run_folder, "two")
    stack_of(monkeypatch, one, two)
    assert command("up", "--json") == 0
    printed = capsys.readouterr()
    answer = json.loads(printed.out)
    assert answer["url"] == f"http://127.0.0.1:{settings.http_port}"
    assert answer["grpc"] == f"127.0.0.1:{settings.grpc_port}"
    assert answer["triton"] == settings.triton_url
    assert answer["logs"] == str(settings.folders.run)
    assert answer["started"] == ["one", "two"]
    leader = two.leader()
    assert leader is not None
    assert answer["processes"][1] == {
        "name": "two",
        "state": "ready",
        "pid": leader.pid,
        "ready_url": two.ready_url,
        "ports": [two.ports[0].number],
        "log": str(two.log),
    }
    assert "two      ready after" in printed.err, "progress is for people"

    assert command("up", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {**answer, "started": []}
    one.stop()
    assert command("status", "--json") == 1
    states = [
        (each["state"], each["pid"]) for each in json.loads(capsys.readouterr().out)["processes"]
    ]
    assert states == [("not running", None), ("ready", leader.pid)]

    assert command("down", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": ["two"]}
    assert command("down", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"stopped": []}


def test_an_error_as_json_is_a_message_and_no_document(
    command: Callable[..., int],
    export: Path,
    run_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stack_of(monkeypatch, fake(run_folder, "one", BROKEN))
    assert command("up", "--json") == 1
    printed = capsys.readouterr()
    assert "\nqasir: one ended while starting" in f"\n{printed.err}"
    assert printed.out == ""


def test_up_twice_at_once_starts_one_stack(
    settings: Settings, export: Path, run_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = stack_of(monkeypatch, fake(run_folder, "one"))
    threads = [threading.Thread(target=stack.up, args=(settings, lines.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line.split()[0] for line in lines) == ["already", "one", "up:"]
    stack.down(settings, lines.append)
