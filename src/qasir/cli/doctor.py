"""`qasir doctor`: checks what this machine needs to run qasir, and names the fix.

In a checkout it checks what the whole stack needs; elsewhere, or with a URL, what a client needs.
"""

import os
import shutil
import socket
import stat
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import httpx
import typer
from rich.markup import escape

from qasir import __version__
from qasir.cli.terminal import AsJson, console, default_url, find_checkout, print_json
from qasir.client import Client
from qasir.errors import InvalidConfig, QasirError
from qasir.triton_home import GLIBC, PYTHONS, TritonHome, glibc_version, libpython_folder

GIB = 1 << 30
DISK_BYTES = 5 * GIB
SHARED_MEMORY_BYTES = 128 << 20

# Name in the report -> variable and default: who listens where.
PORTS = {
    "service": ("QASIR_HTTP_PORT", 3000),
    "service grpc": ("QASIR_GRPC_PORT", 50051),
    "worker metrics": ("QASIR_WORKER_METRICS_PORT", 3001),
    "triton http": ("QASIR_TRITON_HTTP_PORT", 8000),
    "triton grpc": ("QASIR_TRITON_GRPC_PORT", 8001),
    "triton metrics": ("QASIR_TRITON_METRICS_PORT", 8002),
}


@dataclass(frozen=True)
class Finding:
    """The result of one check; `fix` is empty where nothing is wrong."""

    name: str
    found: str
    fix: str = ""

    @property
    def ok(self) -> bool:
        return not self.fix


def check(name: str, ok: bool, found: str, fix: str) -> Finding:
    """Return a finding, with the fix only where it is not `ok`."""
    return Finding(name, found, "" if ok else fix)


@dataclass(frozen=True)
class Machine:
    """Where to look: the environment variables, and the folder that relative paths start at."""

    variables: Mapping[str, str]
    folder: Path

    @property
    def host(self) -> str:
        return self.variables.get("QASIR_HOST", "127.0.0.1")

    @property
    def state(self) -> Path:
        return self.folder / self.variables.get("QASIR_STATE", "state")

    @property
    def triton(self) -> TritonHome:
        return TritonHome(self.folder / self.variables.get("QASIR_TRITON_HOME", ".triton"))

    def port(self, name: str) -> int:
        """Return a port of `PORTS`, which the environment may set.

        Raises:
            InvalidConfig: the variable is not a number.
        """
        variable, default = PORTS[name]
        value = self.variables.get(variable, str(default))
        if not value.isdigit():
            raise InvalidConfig(f"{variable}={value!r} is not a port; unset it, or give a number")
        return int(value)


def doctor(
    url: Annotated[
        str | None, typer.Option(help="Check what a client needs: a service that answers here.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check what this machine needs to run qasir, and name the fix.

    In a checkout that is the whole stack; elsewhere it is a service that answers.
    """
    root = find_checkout(Path.cwd())
    if url is None and root is not None:
        findings = diagnose(Machine(os.environ, root))
    else:
        findings = diagnose_client(url or default_url())
    if as_json:
        print_json([{**asdict(finding), "ok": finding.ok} for finding in findings])
    for finding in [] if as_json else findings:
        verdict = "[green]ok[/]     " if finding.ok else "[red]problem[/]"
        console.print(f"{verdict} {finding.name}: {escape(finding.found)}", soft_wrap=True)
        if not finding.ok:
            console.print(f"        fix: {escape(finding.fix)}", soft_wrap=True)
    if not all(finding.ok for finding in findings):
        raise typer.Exit(1)


def diagnose(machine: Machine) -> list[Finding]:
    """Check what the stack needs, in the order of a set-up.

    Raises:
        InvalidConfig: a port variable is not a number.
    """
    checks = (check_python, check_tools, check_triton, check_room, check_models, check_ports)
    return [finding for check_part in checks for finding in check_part(machine)]


def diagnose_client(url: str) -> list[Finding]:
    """Check what a client needs: its package, and a service that answers at `url`."""
    version = ".".join(map(str, sys.version_info[:2]))
    grpc = find_spec("grpc") is not None and find_spec("google.protobuf") is not None
    missing = "not installed, and only grpc:// URLs need it: pip install 'qasir[grpc]'"
    return [
        Finding("client", f"qasir {__version__}; to run the stack as well, clone the project"),
        Finding("python", f"{version} at {sys.executable}"),
        Finding("grpc", "installed" if grpc else missing),
        check_service(url),
    ]


def check_service(url: str) -> Finding:
    """Check that a qasir service of this version's contract answers at `url`, and is ready."""
    try:
        with Client(url, timeout=5.0) as client:
            client.videos(limit=1)
    except QasirError as error:
        return Finding("service", "cannot be used", str(error))
    ready = client.url.startswith("grpc:") or _answers(f"{client.url}/readyz")
    found = f"{'ready' if ready else 'not ready'} at {client.url}"
    fix = "run `qasir doctor` in the checkout that it was started from"
    return check("service", ready, found, fix)


def check_python(_: Machine) -> Iterator[Finding]:
    """Check the interpreter's version, environment and shared library, and the C library."""
    version = sys.version_info[:2]
    supported = " or ".join(f"{major}.{minor}" for major, minor in PYTHONS)
    fix = f"use Python {supported}: make setup PYTHON=python3.11"
    found = f"{version[0]}.{version[1]} at {sys.executable}"
    yield check("python", version in PYTHONS, found, fix)
    inside = sys.prefix != sys.base_prefix
    fix = "run `make setup`, then .venv/bin/qasir"
    yield check("virtual environment", inside, sys.prefix if inside else "none", fix)
    try:
        yield Finding("libpython", str(libpython_folder() or "found by the loader"))
    except InvalidConfig as error:
        yield Finding("libpython", "missing", str(error))
    glibc = glibc_version()
    fix = "Triton's wheel needs glibc 2.35: Debian 12, Ubuntu 22.04 or newer"
    yield check("glibc", glibc >= GLIBC, ".".join(map(str, glibc)) or "another C library", fix)


def check_tools(_: Machine) -> Iterator[Finding]:
    """Check the programs that the Makefile and DVC call."""
    for name in ("make", "git"):
        path = shutil.which(name)
        yield check(name, path is not None, path or "missing", f"install the package {name}")


def check_triton(machine: Machine) -> Iterator[Finding]:
    """Check Triton's server, and its stub for this interpreter."""
    home, fix = machine.triton, "run `make setup`, or set QASIR_TRITON_HOME"
    for name, path in (("triton server", home.server), ("triton stub", home.wheel_stub)):
        yield check(name, path.is_file(), str(path) if path.is_file() else f"no {path}", fix)


def check_room(machine: Machine) -> Iterator[Finding]:
    """Check the disk of the state folder, and the shared memory that Triton's models use."""
    folder = next(path for path in (machine.state, *machine.state.parents) if path.exists())
    free = shutil.disk_usage(folder).free
    fix = "free some, or set QASIR_STATE to a folder on another disk"
    yield check("disk", free >= DISK_BYTES, f"{free / GIB:.1f} GiB free at {folder}", fix)
    memory = Path("/dev/shm")
    free = shutil.disk_usage(memory).free if memory.is_dir() else 0
    found = f"{free / GIB:.1f} GiB free at {memory}"
    fix = "enlarge /dev/shm: docker run --shm-size=1g"
    yield check("shared memory", free >= SHARED_MEMORY_BYTES, found, fix)


def check_models(machine: Machine) -> Iterator[Finding]:
    """Check that the store has an active model, and that only its owner can read Triton's key."""
    count = len(list((machine.state / "models" / "manifests").glob("[0-9]*")))
    fix = "run `make repro`, which exports one, then `qasir up`"
    yield check("models in the store", count > 0, str(count), fix)
    if count:
        active = (machine.state / "models" / "deployment.json").is_file()
        found = "chosen" if active else "none"
        yield check("active model", active, found, "run `qasir models activate 1`")
    key = machine.state / "run" / "triton.key"
    if key.exists() and key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("triton key", "readable by others", f"chmod 600 {key}")


def check_ports(machine: Machine) -> Iterator[Finding]:
    """Check the running stack; where none runs, check that its ports are free."""
    addresses = _addresses(machine)
    silent = [name for name, url in addresses.items() if not _answers(url)]
    if not silent:
        ready = _answers(addresses["service"].replace("/livez", "/readyz"))
        found = "ready" if ready else "running, not ready"
        yield check("stack", ready, found, f"see the logs in {machine.state / 'run'}")
    elif len(silent) < len(addresses):
        found = f"running without {' and '.join(silent)}"
        logs = f"the logs are in {machine.state / 'run'}"
        yield Finding("stack", found, f"run `qasir up`, which starts what is missing; {logs}")
    else:
        yield Finding("stack", "not running")
        for name, (variable, _) in PORTS.items():
            free = _free(machine.host, machine.port(name))
            found, fix = "free" if free else "taken", f"stop its process, or set {variable}"
            yield check(f"port {machine.port(name)}", free, f"{found} ({name})", fix)


def _addresses(machine: Machine) -> dict[str, str]:
    triton_host = machine.variables.get("QASIR_TRITON_HOST", "127.0.0.1")
    return {
        "triton": f"http://{triton_host}:{machine.port('triton http')}/v2/health/live",
        "worker": f"http://{machine.host}:{machine.port('worker metrics')}/metrics",
        "service": f"http://{machine.host}:{machine.port('service')}/livez",
    }


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).is_success
    except (httpx.HTTPError, httpx.InvalidURL):
        return False


def _free(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
