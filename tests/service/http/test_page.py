"""The page's files as they are served: fresh, whole, closed to other hosts."""

import re
from pathlib import Path

import anyio
import httpx
import pytest
import yaml

from service.http import page
from service.http.page import PAGE, PLOTS
from tests.support.service import RunningService

ROOT = Path(__file__).resolve().parents[3]
FILES = sorted(path for path in PAGE.rglob("*") if path.is_file())


def test_page_is_served_with_a_strict_policy(running_service: RunningService) -> None:
    answer = running_service.http.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    policy = dict(
        part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; ")
    )
    assert policy.pop("require-trusted-types-for") == "'script'"
    assert policy["default-src"] == "'none'"
    assert set(policy.values()) == {"'none'", "'self'"}
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_file_is_served_and_asked_for_anew(
    running_service: RunningService, path: Path
) -> None:
    name = path.relative_to(PAGE).as_posix()
    url = "/" if name == "index.html" else f"/assets/{name}"
    answer = running_service.http.get(url)
    assert answer.content == path.read_bytes()
    assert answer.headers["cache-control"] == "no-cache"
    again = running_service.http.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["nothing.js", "../app.py", "%2e%2e/api/app.py", "js", ""])
def test_no_other_file_is_served(running_service: RunningService, path: str) -> None:
    url = f"{running_service.http.base_url}/assets/{path}"
    answer = running_service.http.get(httpx.URL(url))
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_page_names_no_other_host_and_every_module_it_loads() -> None:
    for path in FILES:
        outside = re.findall(r"(?:https?:)?//[\w.]+\.\w+", path.read_text())
        assert set(outside) <= {"http://www.w3.org"}, path
    loaded = {
        match
        for path in FILES
        if path.suffix == ".js"
        for match in re.findall(r'from "\./([\w.]+)"', path.read_text())
    }
    assert {path.name for path in FILES if path.suffix == ".js"} == {*loaded, "main.js"}


def test_modules_stay_small() -> None:
    for path in FILES:
        assert len(path.read_text().splitlines()) < 300, path


def test_plots_are_those_of_the_results_folder(running_service: RunningService) -> None:
    plots = running_service.http.get("/study").json()["plots"]
    assert plots == sorted(path.name for path in (ROOT / "results").glob("*.svg"))
    assert "cost.svg" in plots
    answer = running_service.http.get("/study/cost.svg")
    assert answer.headers["content-type"] == "image/svg+xml"
    assert answer.content == (PLOTS / "cost.svg").read_bytes()
    assert "sandbox" in answer.headers["content-security-policy"]
    assert running_service.http.get("/study/metrics.svg").status_code == 404


def test_without_results_there_is_no_plot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "PLOTS", tmp_path / "results")
    assert anyio.run(page.study) == {"plots": []}


def test_bento_carries_page_and_plots() -> None:
    included = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    assert {"service/web/", "results/*.svg"} <= set(included)


def test_workers_metrics_come_under_the_services_address(running_service: RunningService) -> None:
    running_service.ingested()
    answer = running_service.http.get("/metrics/worker")
    assert answer.headers["content-type"].startswith("text/plain")
    assert "qasir_ingest_stage_seconds_bucket" in answer.text
