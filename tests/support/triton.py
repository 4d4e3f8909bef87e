"""Real Tritons on free ports, each serving a tiny export from a state folder of its own."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from qasir.triton import Triton
from qasir.triton_home import TritonHome
from service.models.store import ModelStore
from service.processes import Process, free_ports
from service.settings import Settings
from service.stack.control import processes
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[2]
KEY = "key-of-the-tests"


@dataclass(frozen=True)
class RunningTriton:
    """A Triton that the tests may ask, stop and start again.

    `clients` say whether they reach it; a restart waits for all of them.
    """

    settings: Settings
    process: Process
    version: int
    clients: list[Callable[[], bool]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.settings.triton_url

    @property
    def http_url(self) -> str:
        return f"http://{self.settings.triton_host}:{self.settings.triton_http_port}"

    @property
    def key(self) -> str:
        return KEY

    @property
    def state(self) -> Path:
        return self.settings.state

    def kill(self) -> None:
        """End it as a crash would, models and all."""
        for member in self.process.members():
            member.kill()
        psutil.wait_procs(self.process.members(), timeout=5)

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Silent as one that hangs: connections stay, nothing is answered."""
        members = self.process.members()
        for member in members:
            member.suspend()
        try:
            yield
        finally:
            for member in members:
                member.resume()

    def restart(self) -> None:
        """Start it again on the same ports, and wait until it is ready and its clients know."""
        self.process.stop()
        self.process.start()
        self.process.wait()
        wait_for(lambda: all(reaches_it() for reaches_it in self.clients), pause=0.2)


def stack_settings(state: Path) -> Settings:
    """Settings with a state folder and ports of their own, all on loopback."""
    http, grpc, worker, triton_http, triton_grpc, triton_metrics = free_ports(6)
    return Settings(
        state=state,
        triton_home=triton_home().path,
        http_port=http,
        grpc_port=grpc,
        worker_metrics_port=worker,
        triton_http_port=triton_http,
        triton_grpc_port=triton_grpc,
        triton_metrics_port=triton_metrics,
    )


def triton_home() -> TritonHome:
    """Where `make setup` has put Triton; a test without it fails rather than pass unseen."""
    home = TritonHome(Path(os.environ.get("QASIR_TRITON_HOME", ROOT / ".triton")).absolute())
    if not home.server.is_file():
        pytest.fail(f"no Triton in {home.path}; run `make setup` or set QASIR_TRITON_HOME")
    return home


@contextmanager
def running_triton(export: Path, folder: Path) -> Iterator[RunningTriton]:
    """A Triton that serves one export."""
    settings = stack_settings(folder / "state").model_copy(update={"triton_key": KEY})
    store = ModelStore(settings.state)
    version = store.add(export)
    store.activate(version)
    (process,) = [process for process in processes(settings) if process.name == "triton"]
    process.start()
    try:
        process.wait()
        yield RunningTriton(settings, process, version)
    finally:
        process.stop()


@pytest.fixture(scope="session")
def triton_server(
    tiny_export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningTriton]:
    """The session's Triton, zero-shot. A test that kills it restarts it."""
    with running_triton(tiny_export, tmp_path_factory.mktemp("triton")) as server:
        yield server


@pytest.fixture(scope="session")
def tuned_server(
    tuned_export: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningTriton]:
    """A Triton that serves the fine-tuned export."""
    with running_triton(tuned_export, tmp_path_factory.mktemp("tuned-triton")) as server:
        yield server


@pytest.fixture(scope="session")
def triton(triton_server: RunningTriton) -> Iterator[Triton]:
    """A client that holds the key."""
    with Triton(triton_server.url, triton_server.key) as client:
        triton_server.clients.append(client.ready)
        yield client
        triton_server.clients.remove(client.ready)
