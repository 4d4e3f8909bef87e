"""`make monitor`: a real Prometheus on the settings' ports, gone when it is asked to go."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil
import pytest
import yaml

from monitoring.serve import configure, prometheus, targets
from qasir.errors import MissingExtra
from service.processes import free_ports
from service.settings import Settings
from tests.support.programs import needed


def test_targets_follow_the_settings() -> None:
    settings = Settings(host="127.0.0.2", http_port=1, worker_metrics_port=2, triton_metrics_port=3)
    found = {one["labels"]["job"]: one["targets"] for one in targets(settings, node=False)}
    assert found == {
        "service": ["127.0.0.2:1"],
        "worker": ["127.0.0.2:2"],
        "triton": ["127.0.0.1:3"],
    }


def test_the_configuration_is_ours_but_for_what_is_asked(tmp_path: Path) -> None:
    config = configure(tmp_path, targets(Settings(), node=True), scrape="2s")
    written = yaml.safe_load(config.read_text())
    assert written["global"] == {"scrape_interval": "2s", "evaluation_interval": "2s"}
    assert (tmp_path / "rules" / "alerts.yml").is_file()
    assert len(yaml.safe_load((tmp_path / "targets.yml").read_text())) == 4


def test_without_prometheus_it_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingExtra, match="apt-get install prometheus"):
        prometheus(Settings(state=tmp_path), tmp_path / "prometheus.yml")


@pytest.mark.stack
def test_it_serves_until_it_is_told_to_stop(tmp_path: Path) -> None:
    needed("prometheus")
    port, node = free_ports(2)
    named = {
        "QASIR_STATE": str(tmp_path / "state"),
        "QASIR_PROMETHEUS_PORT": str(port),
        "QASIR_NODE_EXPORTER_PORT": str(node),
    }
    running = subprocess.Popen(
        [sys.executable, "-m", "monitoring.serve"],
        env={**os.environ, **named},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert running.stdout is not None
        assert any(f"http://127.0.0.1:{port}" in line for line in iter(running.stdout.readline, ""))
        assert httpx.get(f"http://127.0.0.1:{port}/-/ready").status_code == 200
        started = psutil.Process(running.pid).children()
        running.send_signal(signal.SIGINT)
        assert running.wait(timeout=30) == 0
        assert not any(child.is_running() for child in started)
        assert "stopped" in running.stdout.read()
    finally:
        running.kill()
        running.wait()
        assert running.stdout is not None
        running.stdout.close()
    assert (tmp_path / "state" / "prometheus" / "data").is_dir()
