"""The doctor finds each fault that can be made on purpose, and names its fix."""

import http.server
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from qasir import triton_home
from qasir.cli import doctor
from qasir.cli.doctor import Finding, Machine, diagnose
from qasir.cli.terminal import find_checkout
from qasir.errors import InvalidConfig
from qasir.triton_home import STUB_NAME, TritonHome
from service.models.store import ModelStore
from service.processes import free_ports
from service.settings import Settings
from tests.support.cli import run
from tests.support.scripted import ScriptedServer
from tests.support.triton import ROOT, stack_settings
from tests.support.triton import triton_home as home_of_the_tests

Check = Callable[[Machine], Iterator[Finding]]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return stack_settings(tmp_path / "state")


@pytest.fixture
def machine(settings: Settings, tmp_path: Path) -> Machine:
    """This machine, with a state folder and ports that nobody else uses."""
    named = settings.model_dump(exclude_defaults=True)
    variables = {f"QASIR_{name.upper()}": str(value) for name, value in named.items()}
    return Machine(variables, tmp_path)


def problems(check: Check, machine: Machine) -> dict[str, Finding]:
    return {finding.name: finding for finding in check(machine) if not finding.ok}


def test_a_machine_that_runs_these_tests_lacks_only_a_model(
    machine: Machine, settings: Settings, tiny_export: Path
) -> None:
    faults = [finding.name for finding in diagnose(machine) if not finding.ok]
    assert faults == ["models in the store"]
    store = ModelStore(settings.state)
    store.add(tiny_export)
    (fault,) = [finding for finding in diagnose(machine) if not finding.ok]
    assert (fault.name, fault.fix) == ("active model", "run `qasir models activate 1`")
    store.activate(1)
    assert all(finding.ok for finding in diagnose(machine))


def test_a_missing_triton(machine: Machine, tmp_path: Path) -> None:
    empty = Machine({**machine.variables, "QASIR_TRITON_HOME": "nowhere"}, tmp_path)
    faults = problems(doctor.check_triton, empty)
    assert faults.keys() == {"triton server", "triton stub"}
    assert "make setup" in faults["triton stub"].fix


def test_a_taken_port(machine: Machine, settings: Settings) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.triton_grpc_port))
        (fault,) = problems(doctor.check_ports, machine).values()
    assert fault.name == f"port {settings.triton_grpc_port}"
    assert fault.found == "taken (triton grpc)"
    assert "set QASIR_TRITON_GRPC_PORT" in fault.fix


def test_a_port_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="QASIR_HTTP_PORT='eighty'"):
        diagnose(Machine({"QASIR_HTTP_PORT": "eighty"}, tmp_path))


class Live(http.server.BaseHTTPRequestHandler):
    """Answers 200, and 503 for what is not ready."""

    ready = False

    def do_GET(self) -> None:
        self.send_response(503 if self.path == "/readyz" and not self.ready else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Ready(Live):
    ready = True


@contextmanager
def answering(*ports: int, how: type[Live] = Ready) -> Iterator[None]:
    with ExitStack() as stack:
        for port in ports:
            server = http.server.ThreadingHTTPServer(("127.0.0.1", port), how)
            stack.enter_context(server)
            threading.Thread(target=server.serve_forever, args=(0.02,)).start()
            stack.callback(server.shutdown)
        yield


def test_a_stack_that_lacks_a_part(machine: Machine, settings: Settings) -> None:
    with answering(settings.triton_http_port, settings.http_port):
        (fault,) = problems(doctor.check_ports, machine).values()
    assert (fault.name, fault.found) == ("stack", "running without worker")
    assert "qasir up" in fault.fix
    with answering(settings.triton_http_port):
        (fault,) = problems(doctor.check_ports, machine).values()
    assert fault.found == "running without worker and service"


def test_a_running_stack_holds_its_ports_rightly(machine: Machine, settings: Settings) -> None:
    ports = (settings.triton_http_port, settings.worker_metrics_port, settings.http_port)
    with answering(*ports, how=Live):
        (fault,) = problems(doctor.check_ports, machine).values()
    with answering(*ports):
        (finding,) = doctor.check_ports(machine)
    assert (fault.name, fault.found) == ("stack", "running, not ready")
    assert str(machine.state / "run") in fault.fix
    assert (finding.found, finding.ok) == ("ready", True)


def test_a_full_disk_and_a_small_shared_memory(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "DISK_BYTES", 1 << 60)
    monkeypatch.setattr(doctor, "SHARED_MEMORY_BYTES", 1 << 60)
    faults = problems(doctor.check_room, machine)
    assert faults.keys() == {"disk", "shared memory"}
    assert "QASIR_STATE" in faults["disk"].fix


def test_an_unsuitable_python(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PYTHONS", ((2, 7),))
    monkeypatch.setattr(doctor, "GLIBC", (9, 9))
    monkeypatch.setattr(triton_home, "libpython_name", lambda: "libpython9.9.so.1.0")
    faults = problems(doctor.check_python, machine)
    assert faults.keys() == {"python", "libpython", "glibc"}
    assert "libpython9.9" in faults["libpython"].fix


def test_missing_tools(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert problems(doctor.check_tools, machine).keys() == {"make", "git"}


def test_a_key_that_others_can_read(machine: Machine) -> None:
    key = machine.state / "run" / "triton.key"
    key.parent.mkdir(parents=True)
    key.write_text("secret")
    key.chmod(0o644)
    assert "triton key" in problems(doctor.check_models, machine)
    key.chmod(0o600)
    assert "triton key" not in problems(doctor.check_models, machine)


def test_the_command_ends_with_1_and_the_fixes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = tmp_path / "service" / "stack"
    checkout.mkdir(parents=True)
    (checkout / "__main__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QASIR_TRITON_HOME", str(tmp_path / "nowhere"))
    shown = run("doctor")
    assert shown.exit_code == 1
    assert "problem triton server" in shown.output
    assert "fix: run `make setup`" in shown.output


def test_without_a_checkout_only_a_service_is_missing(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (port,) = free_ports(1)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("QASIR_HTTP_PORT", str(port))
    monkeypatch.delenv("QASIR_HOST", raising=False)
    shown = run("doctor")
    assert shown.exit_code == 1
    assert "ok      client: qasir" in shown.output
    assert "problem service: cannot be used" in shown.output
    assert f"fix: no answer from a qasir service at http://127.0.0.1:{port}" in shown.output
    assert "or give another address with --url" in shown.output
    assert "make setup" not in shown.output
    assert "triton" not in shown.output.lower()
    server.on("GET /v1/videos", {"videos": [], "total_count": 0})
    server.on("GET /readyz", "", status=503)
    assert f"service: not ready at {server.url}" in run("doctor", "--url", server.url).output
    server.on("GET /readyz", "")
    assert run("doctor", "--url", server.url).exit_code == 0


def test_a_url_is_checked_from_the_client_in_a_checkout_too(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.on("GET /v1/videos", {"videos": [], "total_count": 0})
    server.on("GET /readyz", "")
    monkeypatch.chdir(ROOT)
    shown = run("doctor", "--url", server.url.replace("//", "//ada:secret@"))
    assert shown.exit_code == 0, shown.output
    assert f"service: ready at {server.url}" in shown.output
    assert "triton" not in shown.output.lower()
    assert "secret" not in shown.output


def test_prepare_puts_the_stub_where_triton_looks(tmp_path: Path) -> None:
    real, copy = home_of_the_tests(), TritonHome(tmp_path)
    with pytest.raises(InvalidConfig, match="make setup"):
        copy.prepare()
    for path in (real.server, real.wheel_stub):
        target = tmp_path / path.relative_to(real.path)
        target.parent.mkdir(parents=True)
        target.write_bytes(b"program")
        target.chmod(0o644)
    copy.stub.parent.mkdir(parents=True)
    copy.stub.write_bytes(b"stub of another Python")
    copy.prepare()
    assert copy.stub.read_bytes() == b"program"
    assert copy.stub.name == STUB_NAME
    assert all(path.stat().st_mode & 0o111 for path in (copy.server, copy.stub))
    before = copy.stub.stat().st_ino
    copy.prepare()
    assert copy.stub.stat().st_ino == before


def test_a_checkout_is_found_from_any_folder_in_it(tmp_path: Path) -> None:
    assert find_checkout(ROOT / "docs") == ROOT, "where `qasir up` runs"
    assert find_checkout(tmp_path) is None
