"""`bentoml build` and the Bento it makes: the same answers from its own copy of the code."""

import os
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from service.processes import free_ports
from tests.support.service import RunningService, assert_alike
from tests.support.waiting import wait_for

ROOT = Path(__file__).resolve().parents[3]
VERSION = "0.0.0+bento"


def requirements() -> set[str]:
    """What pyproject.toml asks for a service, extras resolved."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    own = {need for need in extras["service"] if not need.startswith("qasir")}
    others = (extras[name] for name in ("grpc", "index", "video", "triton"))
    return {*project["dependencies"], *own, *chain.from_iterable(others)}


def test_bento_asks_for_what_the_package_asks_for() -> None:
    asked = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["python"]["packages"]
    assert set(asked) == requirements()


@pytest.fixture(scope="module")
def bento_url(
    running_service: RunningService, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """A Bento built from the checkout, serving the same state folder beside the service."""
    home = tmp_path_factory.mktemp("bentoml")
    port, grpc_port = free_ports(2)
    environment = {
        **{name: value for name, value in os.environ.items() if name != "PYTHONPATH"},
        **{k: v for k, v in running_service.service.variables.items() if k != "PYTHONPATH"},
        "BENTOML_HOME": str(home),
        "BENTOML_DO_NOT_TRACK": "1",
        "QASIR_WORKERS": "1",
        "QASIR_GRPC_PORT": str(grpc_port),
    }
    bentoml = [sys.executable, "-m", "bentoml"]
    build = subprocess.run(
        [*bentoml, "build", "--output", "tag"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert build.returncode == 0, build.stderr
    (source,) = home.glob("bentos/qasir-service/*/src")
    assert not (source / "qasir" / "modeling").exists()
    # So that an answer tells whose code gave it.
    (source / "qasir" / "__init__.py").write_text(f'__version__ = "{VERSION}"\n')
    log = (home / "serve.log").open("wb")
    serve = subprocess.Popen(
        [*bentoml, "serve", "qasir-service:latest", "--host", "127.0.0.1", "--port", str(port)],
        cwd=home,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    url = f"http://127.0.0.1:{port}"
    try:
        wait_for(lambda: ready(url))
        yield url
    finally:
        os.killpg(serve.pid, signal.SIGTERM)
        serve.wait(30)
        log.close()


def ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", verify=False).status_code == 200
    except httpx.TransportError:
        return False


def test_bento_carries_the_page_and_the_plots(bento_url: str) -> None:
    page = httpx.get(bento_url)
    assert page.content == (ROOT / "service" / "web" / "index.html").read_bytes()
    assert httpx.get(f"{bento_url}/assets/js/main.js").status_code == 200
    plots = sorted(path.name for path in (ROOT / "results").glob("*.svg"))
    assert httpx.get(f"{bento_url}/study").json() == {"plots": plots}


def test_bento_gives_the_same_answers(running_service: RunningService, bento_url: str) -> None:
    assert httpx.get(f"{bento_url}/docs.json").json()["info"]["version"] == VERSION
    running_service.ingested()
    asked = {"query": "a blue house", "top_k": 100}

    def answer(url: str) -> dict[str, Any]:
        found: dict[str, Any] = httpx.post(f"{url}/v1/search", json=asked, timeout=30).json()
        return found

    mine, other = answer(bento_url), answer(str(running_service.http.base_url))
    assert mine["results"]
    assert [mine[k] for k in ("searched", "snapshot")] == [other["searched"], other["snapshot"]]
    assert_alike(mine["results"], other["results"])
