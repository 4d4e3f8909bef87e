"""Triton, worker and service in the background: start, stop and status.

`up` returns when everything answers, or stops what it started and raises the reason.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import typer
from rich.console import Console

from qasir.cli.terminal import AsJson, complaints, print_json
from qasir.errors import NotFound
from qasir.manifest import MANIFEST_NAME
from qasir.triton_home import TritonHome, libpython_folder
from service.lock import locked
from service.models.rollout import coverage_line, open_rollout
from service.processes import Port, Process, ProcessStatus, python, refuse_taken
from service.settings import Settings, load_settings, variable

ROOT = Path(__file__).resolve().parents[2]
EXPORT = ROOT / "build" / "export"
# On top of the time that the service gives its load balancer and its requests.
STOP_SECONDS = 9.0

Report = Callable[[str], None]

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    help="Run Triton, worker and service in the background.",
    pretty_exceptions_show_locals=False,
)


@app.command("up")
def up_command(as_json: AsJson = False) -> None:
    """Start what does not run yet, and wait until all of it is ready."""
    settings = load_settings()
    started = up(settings, _reporter(as_json))
    if as_json:
        print_json({**asdict(status(settings)), "started": started})


@app.command("down")
def down_command(as_json: AsJson = False) -> None:
    """Stop everything."""
    stopped = down(load_settings(), _reporter(as_json))
    if as_json:
        print_json({"stopped": stopped})


@app.command("status")
def status_command(as_json: AsJson = False) -> None:
    """Show every process; exit with 1 unless all are ready."""
    now, report = status(load_settings()), _reporter(as_json)
    for process in now.processes:
        report(str(process))
    if as_json:
        print_json(asdict(now))
    if not now.ready:
        raise typer.Exit(1)


@dataclass(frozen=True)
class Status:
    """The state of the stack: its page, host:port of both gRPC servers, every process."""

    url: str
    grpc: str
    triton: str
    logs: Path
    processes: list[ProcessStatus]

    @property
    def ready(self) -> bool:
        return all(process.state == "ready" for process in self.processes)


def processes(settings: Settings) -> list[Process]:
    """Return Triton, worker and service, in the order in which they start."""
    triton = f"http://{settings.triton_host}:{settings.triton_http_port}"
    worker = f"http://{_reach(settings.host)}:{settings.worker_metrics_port}"
    return [
        _process(
            settings,
            "triton",
            "service.stack.triton_server",
            f"{triton}/v2/health/ready",
            ("triton_http_port", "triton_grpc_port", "triton_metrics_port"),
        ),
        _process(
            settings, "worker", "service.ingest", f"{worker}/metrics", ("worker_metrics_port",)
        ),
        _process(
            settings,
            "service",
            "service.http",
            f"{_page(settings)}/readyz",
            ("http_port", "grpc_port"),
        ),
    ]


def up(settings: Settings, report: Report) -> list[str]:
    """Start what does not run yet, wait until all of it is ready, and name what was started.

    Raises:
        QasirError: something is missing, a port is taken, or a process does not become ready;
            what this call started is stopped again.
    """
    settings.folders.create()
    with locked(settings.folders.run / "stack.lock"):
        everything = processes(settings)
        missing = [process for process in everything if process.leader() is None]
        if missing:
            _check(settings, missing, report)
            _start(missing, report)
        # A process that ran already reconnects in its own time to what was just started.
        for process in everything:
            process.wait()
        page = _page(settings)
        logs = f" (logs in {settings.folders.run})"
        report(f"up: {page}{logs}" if missing else f"already up: {page}")
        return [process.name for process in missing]


def down(settings: Settings, report: Report) -> list[str]:
    """Stop every process, last started first, and name those that ran."""
    with locked(settings.folders.run / "stack.lock"):
        stopped = [process.name for process in reversed(processes(settings)) if process.stop()]
        report(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")
        return stopped


def status(settings: Settings) -> Status:
    """Return where the stack answers, and the state of its processes."""
    return Status(
        url=_page(settings),
        grpc=f"{_reach(settings.host)}:{settings.grpc_port}",
        triton=f"{_reach(settings.triton_host)}:{settings.triton_grpc_port}",
        logs=settings.folders.run,
        processes=[process.status() for process in processes(settings)],
    )


def add_export(settings: Settings, report: Report, export: Path = EXPORT) -> None:
    """Add a new export to the store; the worker encodes every video with it, then it is active.

    Raises:
        NotFound: there is neither an export nor an active model.
    """
    with open_rollout(settings) as rollout:
        if (export / MANIFEST_NAME).is_file():
            before = [model.version for model in rollout.store.list()]
            version = rollout.store.add(export)
            if version not in before:
                report(coverage_line(rollout.build(version, activate=True)))
        try:
            rollout.store.active()
        except NotFound as error:
            raise NotFound(
                f"no exported model in {export} and none active in {rollout.store.root}; "
                f"run `dvc repro export`"
            ) from error


def _check(settings: Settings, missing: Sequence[Process], report: Report) -> None:
    """Stop what earlier starts left behind, and check that all of it can start."""
    for process in missing:
        process.stop()
    TritonHome(settings.triton_home.absolute()).prepare()
    libpython_folder()
    refuse_taken([port for process in missing for port in process.ports])
    if any(process.name == "triton" for process in missing):
        add_export(settings, report)


def _start(missing: Sequence[Process], report: Report) -> None:
    begin = time.monotonic()
    try:
        for process in missing:
            process.start()
        for process in missing:
            process.wait()
            report(f"{process.name:8} ready after {time.monotonic() - begin:.1f} s")
    except BaseException:
        # On Ctrl-C, too: leave no half-started stack behind.
        for process in reversed(missing):
            process.stop()
        raise


def _process(
    settings: Settings, name: str, module: str, ready_url: str, ports: Sequence[str]
) -> Process:
    """Describe a process that runs a module; `ports`: the settings that hold its ports."""
    host = settings.triton_host if name == "triton" else settings.host
    path = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return Process(
        name=name,
        command=python("-m", module),
        ready_url=ready_url,
        ports=[Port(host, getattr(settings, port), variable(port)) for port in ports],
        ready_seconds=settings.triton_patience_seconds,
        stop_seconds=STOP_SECONDS + settings.withdraw_seconds + settings.drain_seconds,
        folder=settings.folders.run,
        variables={**settings.environment(), "PYTHONPATH": os.pathsep.join(path)},
    )


def _page(settings: Settings) -> str:
    return f"http://{_reach(settings.host)}:{settings.http_port}"


def _reach(host: str) -> str:
    # A socket bound to all interfaces is reached by loopback.
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host


def _reporter(as_json: bool) -> Report:
    return (complaints if as_json else Console(highlight=False, soft_wrap=True)).print
