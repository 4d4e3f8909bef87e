"""Background processes: started, waited for, found again, and gone when they are stopped."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from qasir.errors import Conflict, QasirError
from service.stack.processes import MARK, Port, Process, free_ports, python, refuse_taken

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
