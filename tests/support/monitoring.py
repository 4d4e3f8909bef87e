"""A stack that serves several grid sizes, and a real Prometheus that scrapes it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from monitoring.queries import DASHBOARDS
from monitoring.serve import monitored
from qasir.config import HybridParams
from qasir.manifest import Profile, read_manifest, write_manifest
from service.processes import free_ports
from service.stack.control import processes
from tests.support.programs import needed
from tests.support.service import RunningService, service_settings
from tests.support.triton import running_triton
from tests.support.waiting import wait_for

GRID_SIZES = (1, 2, 3)
SCRAPE = "1s"


@dataclass(frozen=True)
class Watched:
    """A running service, and the URL of the Prometheus that scrapes it."""

    service: RunningService
    prometheus: str


@pytest.fixture(scope="session")
def watched(tuned_export: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Triton, worker and a service of two processes at N = 1, 2 and 3, and Prometheus."""
    for program in ("prometheus", "prometheus-node-exporter"):
        needed(program)
    folder = tmp_path_factory.mktemp("watched")
    export = several_grid_sizes(tuned_export, folder / "export")
    with running_triton(export, folder / "triton") as triton:
        settings = service_settings(triton, folder / "state")
        prometheus, node = free_ports(2)
        settings = settings.model_copy(
            update={"prometheus_port": prometheus, "node_exporter_port": node}
        )
        _, worker, service = processes(settings)
        url = f"http://{settings.host}:{settings.http_port}"
        with httpx.Client(base_url=url, timeout=30) as http:
            try:
                for process in (worker, service):
                    process.start()
                for process in (worker, service):
                    process.wait()
                with monitored(settings, print, SCRAPE) as prometheus_url:
                    # What happened before the first scrape is in no rate.
                    wait_for(lambda: scraped(prometheus_url))
                    running = RunningService(settings, worker, service, folder, http)
                    yield Watched(running, prometheus_url)
            finally:
                for process in (service, worker):
                    process.stop()


def scraped(prometheus: str) -> bool:
    """Whether every process has been scraped."""
    query = {"query": "sum(up)"}
    found = httpx.get(f"{prometheus}/api/v1/query", params=query).json()["data"]["result"]
    return bool(found) and float(found[0]["value"][1]) == 4


def several_grid_sizes(export: Path, folder: Path) -> Path:
    """A copy of an export whose profile indexes with every N, hybrid at the finest."""
    shutil.copytree(export, folder)
    manifest = read_manifest(folder)
    profile = Profile(
        grid_sizes=GRID_SIZES,
        fps=1.0,
        index_unit="super-image",
        hybrid=HybridParams(grid_size=1, k=5),
    )
    write_manifest(manifest.model_copy(update={"profile": profile}), folder)
    return folder


def variable_queries(folder: Path = DASHBOARDS) -> Iterator[tuple[str, str]]:
    """Read metric and label of every variable of every dashboard."""
    for path in sorted(folder.glob("*.json")):
        for variable in json.loads(path.read_text())["templating"]["list"]:
            if variable["type"] == "query":
                inner = variable["query"].removeprefix("label_values(").removesuffix(")")
                metric, label = inner.split(", ")
                yield metric, label
