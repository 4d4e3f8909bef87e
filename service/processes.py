"""A background process: started, checked and stopped by its pid file and a mark.

A pid may belong to another process by now, so the pid file also holds the start time. Children
inherit a mark in their environment, so that the workers of a killed leader can still be found.
"""

import contextlib
import os
import signal
import socket
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from qasir.artifacts import atomic_write
from qasir.errors import Conflict, QasirError

# Without the prefix QASIR_, because unknown settings are errors.
MARK = "STACK_OF_QASIR"
PAUSE = 0.1
LAST_LINES = 15


@dataclass(frozen=True)
class Port:
    """A TCP port that a process listens on, and the variable that sets it."""

    host: str
    number: int
    variable: str

    def is_free(self) -> bool:
        """Return whether no process listens here."""
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((self.host, self.number))
                return True
        return False


@dataclass(frozen=True)
class ProcessStatus:
    """The state of a process: ready, starting or not running."""

    name: str
    state: str
    pid: int | None
    ready_url: str
    ports: list[int]
    log: Path

    def __str__(self) -> str:
        state = self.state if self.pid is None else f"{self.state} (pid {self.pid})"
        return f"{self.name:8} {state:24} {self.ready_url}"


@dataclass(frozen=True)
class Process:
    """One process of the stack; `ready_url` answers 200 when it is ready."""

    name: str
    command: Sequence[str]
    ready_url: str
    ports: Sequence[Port]
    ready_seconds: float
    stop_seconds: float
    folder: Path
    variables: Mapping[str, str]

    @property
    def log(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        return self.folder / f"{self.name}.pid"

    def leader(self) -> psutil.Process | None:
        """Return the process itself if it runs; None for a stale pid file."""
        try:
            pid, started = self.pid_file.read_text().split()
            process = psutil.Process(int(pid))
            alive = process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            same = abs(process.create_time() - float(started)) < 1
        except (OSError, ValueError, psutil.Error):
            return None
        return process if alive and same else None

    def members(self) -> list[psutil.Process]:
        """Find every running process of this and of earlier starts, by their mark."""
        return [process for process in psutil.process_iter() if self._owns(process)]

    def ready(self) -> bool:
        """Return whether it answers its ready URL with 200."""
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(self.ready_url, timeout=2) as answer,
        ):
            return bool(answer.status == 200)
        return False

    def status(self) -> ProcessStatus:
        leader = self.leader()
        return ProcessStatus(
            name=self.name,
            state="not running" if leader is None else "ready" if self.ready() else "starting",
            pid=None if leader is None else leader.pid,
            ready_url=self.ready_url,
            ports=[port.number for port in self.ports],
            log=self.log,
        )

    def start(self) -> None:
        """Start it in its own session, with output to its log; the last log becomes `.log.old`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.log.exists():
            self.log.replace(self.log.with_suffix(".log.old"))
        # Not subprocess.Popen, which warns when it is dropped while its child runs.
        write = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        pid = os.posix_spawn(
            self.command[0],
            list(self.command),
            {**os.environ, **self.variables, MARK: self._mark},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, 1, str(self.log), write, 0o644),
                (os.POSIX_SPAWN_DUP2, 1, 2),
            ],
            setsid=True,
        )
        with atomic_write(self.pid_file) as file:
            file.write(f"{pid} {psutil.Process(pid).create_time()}\n".encode())

    def wait(self) -> float:
        """Block until it is ready; return the seconds that this took.

        Raises:
            QasirError: it ended, or is not ready in time; the message ends with its log.
        """
        begin = time.monotonic()
        while not self.ready():
            if self.leader() is None:
                raise QasirError(f"{self.name} ended while starting; {self._log_tail()}")
            if time.monotonic() - begin > self.ready_seconds:
                raise QasirError(
                    f"{self.name} does not answer {self.ready_url} after "
                    f"{self.ready_seconds:g} s; {self._log_tail()}"
                )
            time.sleep(PAUSE)
        return time.monotonic() - begin

    def stop(self) -> bool:
        """Terminate it, then kill what is left; return whether there was anything to stop."""
        leader, members = self.leader(), self.members()
        if leader is not None:
            with contextlib.suppress(psutil.NoSuchProcess):
                leader.send_signal(signal.SIGTERM)
            psutil.wait_procs([leader], timeout=self.stop_seconds)
        # Members may have started others meanwhile: look again after every round.
        while rest := self.members():
            for process in rest:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            psutil.wait_procs(rest, timeout=5)
        self.pid_file.unlink(missing_ok=True)
        return leader is not None or bool(members)

    @property
    def _mark(self) -> str:
        return f"{self.folder.absolute()}:{self.name}"

    def _owns(self, process: psutil.Process) -> bool:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return False
            return process.environ().get(MARK) == self._mark
        except (psutil.Error, OSError):
            return False

    def _log_tail(self) -> str:
        lines = self.log.read_text(errors="replace").splitlines()[-LAST_LINES:]
        return "\n".join([f"the end of {self.log}:", *(f"  {line[:300]}" for line in lines)])


def free_ports(count: int) -> list[int]:
    """Return different free ports of the loopback interface, for a stack beside others."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def refuse_taken(ports: Sequence[Port]) -> None:
    """Check that every port is free.

    Raises:
        Conflict: one is taken; the message names the process and the variable.
    """
    for port in ports:
        if not port.is_free():
            raise Conflict(
                f"port {port.number} is taken by {_listener(port.number)}; stop it, or set "
                f"{port.variable} to a free port"
            )


def _listener(number: int) -> str:
    with contextlib.suppress(psutil.Error):
        for connection in psutil.net_connections(kind="tcp"):
            matches = connection.laddr and connection.laddr.port == number
            if matches and connection.status == psutil.CONN_LISTEN and connection.pid:
                words = " ".join(psutil.Process(connection.pid).cmdline())
                return f"process {connection.pid} ({words[:120]})"
    return f"a process of another user (see `ss -ltnp | grep {number}` as root)"


def python(*arguments: str) -> list[str]:
    """Return a command line for this interpreter."""
    return [sys.executable, *arguments]
