"""Background processes: started, waited for, found again, and gone when they are stopped."""

import http.server
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qasir.errors import Conflict, NotFound, QasirError
from service import stack
from service.processes import MARK, Port, Process, free_ports, python, refuse_taken
from service.settings import Settings
from service.store.models import ModelStore
from tests.fixtures.triton import stack_settings

# Answers 200 after a moment; its child leaves the session, as BentoML's workers do.
SERVER = """
import http.server, subprocess, sys, time
class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
print("starting", flush=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(0.2)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ok).serve_forever()
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
BROKEN = "print('no model in the store'); raise SystemExit(3)"
SILENT = "import time; print('thinking', flush=True); time.sleep(600)"


def fake(folder: Path, name: str, script: str = SERVER, **changes: float) -> Process:
    (port,) = free_ports(1)
    return Process(
        name=name,
        command=python("-c", script, str(port)),
        ready_url=f"http://127.0.0.1:{port}/",
        ports=[Port("127.0.0.1", port, f"QASIR_{name.upper()}_PORT")],
        ready_seconds=changes.get("ready_seconds", 20.0),
        stop_seconds=changes.get("stop_seconds", 5.0),
        folder=folder,
        variables={},
    )


def marked(folder: Path) -> list[psutil.Process]:
    """Every living process with the mark of this folder, found without the code under test."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(str(folder)):
                found.append(process)
        except psutil.Error:
            continue
    return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """A run folder; what a failed test leaves running ends with it."""
    yield tmp_path
    for process in marked(tmp_path):
        process.kill()


def test_a_process_starts_answers_and_stops(folder: Path) -> None:
    process = fake(folder, "one")
    assert process.leader() is None
    process.start()
    assert process.wait() < 20
    assert len(process.members()) == 2
    assert process.log.read_text() == "starting\n"
    assert process.stop()
    assert marked(folder) == []
    assert not process.pid_file.exists()
    assert not process.stop()


def test_another_stack_is_left_alone(folder: Path) -> None:
    mine, theirs = fake(folder / "mine", "one"), fake(folder / "theirs", "one")
    mine.start()
    theirs.start()
    mine.stop()
    assert mine.leader() is None
    assert theirs.leader() is not None
    theirs.stop()


def test_the_workers_of_a_killed_leader_are_found(folder: Path) -> None:
    process = fake(folder, "one")
    process.start()
    process.wait()
    leader = process.leader()
    assert leader is not None
    leader.kill()
    psutil.wait_procs([leader], timeout=5)
    assert process.leader() is None
    assert len(process.members()) == 1
    assert process.stop()
    assert marked(folder) == []


def test_one_that_does_not_listen_is_killed(folder: Path) -> None:
    process = fake(folder, "one", STUBBORN, stop_seconds=0.5)
    process.start()
    process.wait()
    assert process.stop()
    assert marked(folder) == []


def test_a_stale_pid_file_is_nobody(folder: Path) -> None:
    process = fake(folder, "one")
    process.pid_file.write_text(f"{os.getpid()} 12345.0\n")
    assert process.leader() is None
    process.pid_file.write_text("rubbish")
    assert process.leader() is None
    assert not process.stop()
    assert psutil.Process().is_running()


def test_the_last_words_of_one_that_ends_are_passed_on(folder: Path) -> None:
    process = fake(folder, "one", BROKEN)
    process.start()
    with pytest.raises(QasirError, match=r"one ended while starting(.|\n)*no model in the store"):
        process.wait()


def test_one_that_never_gets_ready_is_given_up(folder: Path) -> None:
    process = fake(folder, "one", SILENT, ready_seconds=0.6)
    process.start()
    with pytest.raises(QasirError, match=r"does not answer(.|\n)*after 0.6 s(.|\n)*thinking"):
        process.wait()
    process.stop()


def test_the_log_before_is_kept(folder: Path) -> None:
    process = fake(folder, "one")
    process.log.write_text("yesterday\n")
    process.start()
    process.stop()
    assert (folder / "one.log.old").read_text() == "yesterday\n"


def test_a_taken_port_names_its_holder_and_its_variable(folder: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        number = holder.getsockname()[1]
        with pytest.raises(Conflict) as caught:
            refuse_taken([Port("127.0.0.1", number, "QASIR_HTTP_PORT")])
    message = str(caught.value)
    assert f"port {number} is taken by process {os.getpid()}" in message
    assert "set QASIR_HTTP_PORT" in message
    refuse_taken([Port("127.0.0.1", number, "QASIR_HTTP_PORT")])


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
    settings: Settings, export: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fake(folder, "one"), fake(folder, "two")
    said = stack_of(monkeypatch, one, two)
    stack.up(settings, said.append)
    assert [line.split()[0] for line in said] == ["one", "two", "up:"]
    assert stack.status(settings, said.append)
    first = one.leader()

    said.clear()
    stack.up(settings, said.append)
    assert said == [f"already up: http://127.0.0.1:{settings.http_port}"]

    leader = two.leader()
    assert leader is not None
    leader.kill()
    psutil.wait_procs([leader], timeout=5)
    assert not stack.status(settings, said.append)
    said.clear()
    stack.up(settings, said.append)
    assert [line.split()[0] for line in said] == ["two", "up:"]
    assert one.leader() == first

    said.clear()
    stack.down(settings, said.append)
    stack.down(settings, said.append)
    assert said == ["stopped two, one", "nothing was running"]
    assert marked(folder) == []


def test_up_is_not_content_with_a_process_that_does_not_answer(
    settings: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent = fake(folder, "one", SILENT, ready_seconds=0.3)
    said = stack_of(monkeypatch, silent)
    silent.start()
    try:
        with pytest.raises(QasirError, match="one does not answer"):
            stack.up(settings, said.append)
        assert said == []
        assert silent.leader() is not None
    finally:
        silent.stop()


def test_up_that_fails_stops_what_it_started(
    settings: Settings, export: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stack_of(monkeypatch, fake(folder, "one"), fake(folder, "two", BROKEN))
    with pytest.raises(QasirError, match="two ended while starting"):
        stack.up(settings, said.append)
    assert marked(folder) == []


def test_up_with_a_taken_port_starts_nothing(
    settings: Settings, export: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = fake(folder, "one"), fake(folder, "two")
    said = stack_of(monkeypatch, one, two)
    number = two.ports[0].number
    with http.server.HTTPServer(("127.0.0.1", number), http.server.BaseHTTPRequestHandler):
        with pytest.raises(Conflict, match="set QASIR_TWO_PORT to a free port"):
            stack.up(settings, said.append)
        assert marked(folder) == []


def test_an_export_is_added_once_and_a_choice_by_hand_stays(
    settings: Settings, tiny_export: Path, tmp_path: Path
) -> None:
    store, said = ModelStore(settings.state), list[str]()
    with pytest.raises(NotFound, match="run `dvc pull` or `dvc repro`"):
        stack.add_export(settings, said.append, tmp_path / "no-export")
    stack.add_export(settings, said.append, tiny_export)
    assert store.active().version == 1
    stack.add_export(settings, said.append, tiny_export)
    assert len(store.list()) == 1
    stack.add_export(settings, said.append, tmp_path / "no-export")
    assert store.active().version == 1
    assert said == ["version 1 is active: 0 of 0 videos; see `qasir models list`"]


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


def test_status_of_nothing_is_failure(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in stack.processes(settings)[0].variables.items():
        if name != "PYTHONPATH":
            monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", ["stack", "status"])
    with pytest.raises(SystemExit) as ended:
        stack.main()
    assert ended.value.code == 1
    assert capsys.readouterr().out.count("not running") == 3


def test_up_twice_at_once_starts_one_stack(
    settings: Settings, export: Path, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = stack_of(monkeypatch, fake(folder, "one"))
    threads = [threading.Thread(target=stack.up, args=(settings, said.append)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(line.split()[0] for line in said) == ["already", "one", "up:"]
    stack.down(settings, said.append)
