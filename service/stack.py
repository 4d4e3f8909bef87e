"""The stack in the background: `python -m service.stack up|down|status`.

`up` returns when everything answers, or stops what it started and says why not.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.console import Console

from qasir.errors import NotFound, QasirError
from qasir.manifest import MANIFEST_NAME
from qasir.triton_home import TritonHome, libpython_folder
from service.models import build, open_tools
from service.processes import Port, Process, python, refuse_taken
from service.settings import PREFIX, Settings, load_settings
from service.store.lock import locked

ROOT = Path(__file__).resolve().parents[1]
EXPORT = ROOT / "build" / "export"
# Beside the time that the service gives its load balancer and its requests.
STOP_SECONDS = 9.0

Say = Callable[[str], None]


def processes(settings: Settings) -> list[Process]:
    """Triton, worker and service, in the order in which they start."""
    return [_triton(settings), _worker(settings), _service(settings)]


def up(settings: Settings, say: Say) -> None:
    """Start what does not run yet and wait until all of it is ready.

    Raises:
        QasirError: something is missing, a port is taken, or a process does not come up;
            then whatever this call started is stopped again.
    """
    settings.folders.create()
    with locked(settings.folders.run / "stack.lock"):
        everything = processes(settings)
        missing = [process for process in everything if process.leader() is None]
        if not missing:
            _wait(everything)
            say(f"already up: {_page(settings)}")
            return
        for process in missing:
            process.stop()
        _check(settings, missing, say)
        _start(missing, say)
        # What ran already may have lost what it needs, and finds it again in its own time.
        _wait(everything)
        say(f"up: {_page(settings)} (logs in {settings.folders.run})")


def down(settings: Settings, say: Say) -> None:
    """Stop the stack, last started first; nothing of it is left running."""
    with locked(settings.folders.run / "stack.lock"):
        stopped = [process.name for process in reversed(processes(settings)) if process.stop()]
        say(f"stopped {', '.join(stopped)}" if stopped else "nothing was running")


def status(settings: Settings, say: Say) -> bool:
    """One line for each process; whether all of them are ready."""
    states = [(process, _state(process)) for process in processes(settings)]
    for process, state in states:
        say(f"{process.name:8} {state:24} {process.ready_url}")
    return all(state.startswith("ready") for _, state in states)


def add_export(settings: Settings, say: Say, export: Path = EXPORT) -> None:
    """Put a new export into the store and let it follow the active one; an old one changes
    nothing.

    The first is active at once, a later one when the worker has encoded every video with it.

    Raises:
        NotFound: there is neither an export nor an active model.
    """
    with open_tools(settings) as tools:
        if (export / MANIFEST_NAME).is_file():
            before = [model.version for model in tools.store.list()]
            version = tools.store.add(export)
            if version not in before:
                say(build(tools, version, activate=True).words)
        try:
            tools.store.active()
        except NotFound as error:
            raise NotFound(
                f"no exported model in {export} and none active in {tools.store.root}; "
                f"run `dvc pull` or `dvc repro`"
            ) from error


def _check(settings: Settings, missing: Sequence[Process], say: Say) -> None:
    TritonHome(settings.triton_home.absolute()).prepare()
    libpython_folder()
    refuse_taken([port for process in missing for port in process.ports])
    if any(process.name == "triton" for process in missing):
        add_export(settings, say)


def _wait(everything: Sequence[Process]) -> None:
    for process in everything:
        process.wait()


def _start(missing: Sequence[Process], say: Say) -> None:
    begin = time.monotonic()
    try:
        for process in missing:
            process.start()
        for process in missing:
            process.wait()
            say(f"{process.name:8} ready after {time.monotonic() - begin:.1f} s")
    except BaseException:
        # Ctrl-C, too: half a stack is worse than none.
        for process in reversed(missing):
            process.stop()
        raise


def _state(process: Process) -> str:
    leader = process.leader()
    if leader is None:
        return "not running"
    return f"{'ready' if process.ready() else 'starting'} (pid {leader.pid})"


def _triton(settings: Settings) -> Process:
    host = settings.triton_host
    return _process(
        settings,
        "triton",
        python("-m", "service.triton_server"),
        f"http://{host}:{settings.triton_http_port}/v2/health/ready",
        [
            Port(host, settings.triton_http_port, "QASIR_TRITON_HTTP_PORT"),
            Port(host, settings.triton_grpc_port, "QASIR_TRITON_GRPC_PORT"),
            Port(host, settings.triton_metrics_port, "QASIR_TRITON_METRICS_PORT"),
        ],
    )


def _worker(settings: Settings) -> Process:
    host, number = settings.host, settings.worker_metrics_port
    return _process(
        settings,
        "worker",
        python("-m", "service.ingest.worker"),
        f"http://{_reach(host)}:{number}/metrics",
        [Port(host, number, "QASIR_WORKER_METRICS_PORT")],
    )


def _service(settings: Settings) -> Process:
    return _process(
        settings,
        "service",
        python("-m", "service.api"),
        f"{_page(settings)}/readyz",
        [
            Port(settings.host, settings.http_port, "QASIR_HTTP_PORT"),
            Port(settings.host, settings.grpc_port, "QASIR_GRPC_PORT"),
        ],
    )


def _process(
    settings: Settings,
    name: str,
    command: Sequence[str],
    ready_url: str,
    ports: Sequence[Port],
) -> Process:
    return Process(
        name=name,
        command=command,
        ready_url=ready_url,
        ports=ports,
        ready_seconds=settings.triton_patience_seconds,
        stop_seconds=STOP_SECONDS + settings.withdraw_seconds + settings.drain_seconds,
        folder=settings.folders.run,
        variables=_variables(settings),
    )


def _variables(settings: Settings) -> dict[str, str]:
    """The environment that says to a child what these settings say."""
    said = settings.model_dump(exclude_defaults=True, exclude_none=True)
    mine = {f"{PREFIX}{name.upper()}": str(value) for name, value in said.items()}
    return {**mine, "PYTHONPATH": _path()}


def _path() -> str:
    return os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])


def _page(settings: Settings) -> str:
    return f"http://{_reach(settings.host)}:{settings.http_port}"


def _reach(host: str) -> str:
    # A socket bound to all interfaces is reached by loopback.
    return "127.0.0.1" if host in {"0.0.0.0", "::"} else host


def main() -> None:
    """Parse the command, run it, and turn an error into one message and exit code 1."""
    parser = argparse.ArgumentParser(prog="python -m service.stack", description=__doc__)
    parser.add_argument("command", choices=["up", "down", "status"])
    command = parser.parse_args().command
    say = Console(highlight=False, soft_wrap=True).print
    with suppress(KeyboardInterrupt):
        try:
            settings = load_settings()
            if command == "up":
                up(settings, say)
            elif command == "down":
                down(settings, say)
            elif not status(settings, say):
                sys.exit(1)
        except QasirError as error:
            sys.exit(f"{command}: {error}")
        return
    # `up` has stopped what it had started; `down` goes on where it was when asked again.
    sys.exit(f"{command}: interrupted")


if __name__ == "__main__":
    main()
