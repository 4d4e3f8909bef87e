"""Background processes: started, waited for, found again, and gone when they are stopped."""

import os
import socket
from pathlib import Path

import psutil
import pytest

from qasir.errors import Conflict, QasirError
from service.processes import Port, refuse_taken
from tests.support.processes import BROKEN, SILENT, STUBBORN, fake, marked


def test_a_process_starts_answers_and_stops(run_folder: Path) -> None:
    process = fake(run_folder, "one")
    assert process.leader() is None
    process.start()
    assert process.wait() < 20
    assert len(process.members()) == 2
    assert process.log.read_text() == "starting\n"
    assert process.stop()
    assert marked(run_folder) == []
    assert not process.pid_file.exists()
    assert not process.stop()


def test_another_stack_is_left_alone(run_folder: Path) -> None:
    ours, theirs = fake(run_folder / "ours", "one"), fake(run_folder / "theirs", "one")
    ours.start()
    theirs.start()
    ours.stop()
    assert ours.leader() is None
    assert theirs.leader() is not None
    theirs.stop()


def test_the_workers_of_a_killed_leader_are_found(run_folder: Path) -> None:
    process = fake(run_folder, "one")
    process.start()
    process.wait()
    leader = process.leader()
    assert leader is not None
    leader.kill()
    psutil.wait_procs([leader], timeout=5)
    assert process.leader() is None
    assert len(process.members()) == 1
    assert process.stop()
    assert marked(run_folder) == []


def test_one_that_does_not_listen_is_killed(run_folder: Path) -> None:
    process = fake(run_folder, "one", STUBBORN, stop_seconds=0.5)
    process.start()
    process.wait()
    assert process.stop()
    assert marked(run_folder) == []


def test_a_stale_pid_file_is_nobody(run_folder: Path) -> None:
    process = fake(run_folder, "one")
    process.pid_file.write_text(f"{os.getpid()} 12345.0\n")
    assert process.leader() is None
    process.pid_file.write_text("rubbish")
    assert process.leader() is None
    assert not process.stop()
    assert psutil.Process().is_running()


def test_the_last_words_of_one_that_ends_are_passed_on(run_folder: Path) -> None:
    process = fake(run_folder, "one", BROKEN)
    process.start()
    with pytest.raises(QasirError, match=r"one ended while starting(.|\n)*no model in the store"):
        process.wait()


def test_one_that_never_gets_ready_is_given_up(run_folder: Path) -> None:
    process = fake(run_folder, "one", SILENT, ready_seconds=0.6)
    process.start()
    with pytest.raises(QasirError, match=r"does not answer(.|\n)*after 0.6 s(.|\n)*thinking"):
        process.wait()
    process.stop()


def test_the_log_before_is_kept(run_folder: Path) -> None:
    process = fake(run_folder, "one")
    process.log.write_text("yesterday\n")
    process.start()
    process.stop()
    assert (run_folder / "one.log.old").read_text() == "yesterday\n"


def test_a_taken_port_names_its_holder_and_its_variable(run_folder: Path) -> None:
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
