"""Runs Prometheus with our configuration beside the stack: `make monitor`.

The targets follow the settings; data and logs are in the state folder.
"""

import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from monitoring.queries import FOLDER
from qasir.errors import MissingExtra, QasirError
from service.processes import Port, Process, refuse_taken
from service.settings import Settings, load_settings

READY_SECONDS = 30.0
STOP_SECONDS = 20.0
RETENTION = "15d"

Say = Callable[[str], None]


def targets(settings: Settings, *, node: bool) -> list[dict[str, Any]]:
    """List the processes of this stack in the form of targets.yml; `node`: its exporter runs."""
    addresses = {
        "service": f"{settings.host}:{settings.http_port}",
        "worker": f"{settings.host}:{settings.worker_metrics_port}",
        "triton": f"{settings.triton_host}:{settings.triton_metrics_port}",
    }
    if node:
        addresses["node"] = f"{settings.host}:{settings.node_exporter_port}"
    return [{"targets": [each], "labels": {"job": job}} for job, each in addresses.items()]


def configure(folder: Path, groups: Sequence[dict[str, Any]], scrape: str | None = None) -> Path:
    """Copy configuration and rules to a folder with these targets; return the configuration's path.

    `scrape` replaces the interval of scrapes and evaluations.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    if scrape is not None:
        config["global"] = {"scrape_interval": scrape, "evaluation_interval": scrape}
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / "targets.yml").write_text(yaml.safe_dump(list(groups)))
    shutil.copytree(FOLDER / "rules", folder / "rules", dirs_exist_ok=True)
    return folder / "prometheus.yml"


def prometheus(settings: Settings, config: Path) -> Process:
    """Describe Prometheus as a process of this state folder.

    Raises:
        MissingExtra: it is not installed.
    """
    binary = shutil.which("prometheus")
    if binary is None:
        raise MissingExtra(
            "prometheus is not installed; on Debian or Ubuntu run `apt-get install prometheus "
            "prometheus-node-exporter`, elsewhere put its binary on the PATH"
        )
    options = [
        f"--config.file={config}",
        f"--storage.tsdb.path={config.parent / 'data'}",
        f"--storage.tsdb.retention.time={RETENTION}",
    ]
    port = Port(settings.host, settings.prometheus_port, "QASIR_PROMETHEUS_PORT")
    return _process(settings, "prometheus", [binary, *options], port, "-/ready")


def node_exporter(settings: Settings) -> Process | None:
    """Describe the exporter of the host's metrics; None if it is not installed."""
    binary = shutil.which("prometheus-node-exporter") or shutil.which("node_exporter")
    port = Port(settings.host, settings.node_exporter_port, "QASIR_NODE_EXPORTER_PORT")
    return _process(settings, "node-exporter", [binary], port, "metrics") if binary else None


def _process(settings: Settings, name: str, command: list[str], port: Port, path: str) -> Process:
    address = f"{port.host}:{port.number}"
    return Process(
        name=name,
        command=[*command, f"--web.listen-address={address}"],
        ready_url=f"http://{address}/{path}",
        ports=[port],
        ready_seconds=READY_SECONDS,
        stop_seconds=STOP_SECONDS,
        folder=settings.folders.run,
        variables={},
    )


@contextmanager
def monitored(settings: Settings, say: Say, scrape: str | None = None) -> Iterator[str]:
    """Run Prometheus, and the host's exporter if it is installed, for the block; yields the URL.

    Raises:
        MissingExtra: Prometheus is not installed.
        QasirError: a port is taken, or a process does not come up.
    """
    node = node_exporter(settings)
    if node is None:
        say("no node_exporter here: the host's panels stay empty")
    folder = settings.folders.root / "prometheus"
    config = configure(folder, targets(settings, node=node is not None), scrape)
    processes = [process for process in (node, prometheus(settings, config)) if process]
    for process in processes:
        # A killed `make monitor` may have left one behind.
        process.stop()
    refuse_taken([port for process in processes for port in process.ports])
    try:
        for process in processes:
            process.start()
        for process in processes:
            process.wait()
        yield f"http://{settings.host}:{settings.prometheus_port}"
    finally:
        for process in reversed(processes):
            process.stop()


def main() -> None:
    """Run until Ctrl-C or SIGTERM; print one message and exit with 1 on an error."""
    say = Console(highlight=False, soft_wrap=True).print
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        with monitored(load_settings(), say) as url:
            say(f"Prometheus: {url} (alerts at {url}/alerts); press Ctrl-C to stop")
            stop.wait()
    except QasirError as error:
        sys.exit(f"monitor: {error}")
    say("stopped")


if __name__ == "__main__":
    main()
