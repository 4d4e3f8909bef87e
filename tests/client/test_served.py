"""The HTTP client and the command line against the real service."""

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from qasir.cli.main import app
from qasir.client import Client, http
from qasir.errors import Conflict, NotFound
from tests.support.service import RunningService, large


@pytest.fixture
def url(running_service: RunningService) -> str:
    return str(running_service.http.base_url).rstrip("/")


@pytest.fixture
def client(url: str, tmp_path: Path) -> Iterator[Client]:
    with Client(url, memory=tmp_path / "memory") as made:
        yield made


def test_a_job_from_upload_to_answer(client: Client, running_service: RunningService) -> None:
    upload = client.upload(running_service.new_video(9), title="Nine", metadata={"camera": 3})
    states = [job.state for job in client.watch(upload.job_id)]
    assert states[-1] == "ready"
    assert client.wait(upload.job_id).progress == 1.0
    assert client.video(upload.video_id).metadata == {"camera": 3}
    found = client.search("a dog", 100, mode="fast", filter={"metadata": {"camera": 3}})
    assert upload.video_id in {result.video.id for result in found.results}
    assert (found.mode, found.grid_size, found.provisional) == ("fast", 2, False)
    assert upload.job_id in {job.id for job in client.jobs(state="ready").jobs}
    with pytest.raises(Conflict):
        client.cancel(upload.job_id)
    client.delete(upload.video_id)
    with pytest.raises(NotFound):
        client.video(upload.video_id)


def test_cancel_and_retry(client: Client, running_service: RunningService) -> None:
    running_service.kill(running_service.worker)
    try:
        upload = client.upload(running_service.new_video())
        assert client.cancel(upload.job_id).state == "cancelled"
        again = client.retry(upload.job_id)
        assert (again.video_id, again.state) == (upload.video_id, "queued")
    finally:
        running_service.start(running_service.worker)
    assert client.wait(again.id).state == "ready"


def test_texts_and_models(client: Client) -> None:
    found = client.embed(["a dog", "a cat"])
    assert (len(found.vectors), len(found.vectors[0]), found.dim) == (2, 32, 32)
    (active,) = [model for model in client.models() if model.state == "active"]
    assert active.fingerprint == found.fingerprint
    assert client.activate(active.version).version == active.version


def test_search_by_a_stretch_of_a_video(client: Client, running_service: RunningService) -> None:
    video_id = running_service.ingested(8)
    example = {"video_id": video_id, "start": 0.0, "end": 4.0}
    assert client.search(example=example, top_k=100).results


def test_a_large_file_survives_a_service_that_is_killed(
    client: Client, running_service: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http, "RESUMABLE_BYTES", 1 << 20)
    path = large(running_service, 3 << 20)
    sent: list[int] = []
    restarts: list[threading.Thread] = []

    def kill_once(count: int) -> None:
        sent.append(count)
        if sum(sent) >= 2 << 20 and not restarts:
            running_service.kill(running_service.service)
            starting = threading.Thread(
                target=running_service.start, args=[running_service.service]
            )
            restarts.append(starting)
            starting.start()

    try:
        upload = client.upload(path, on_bytes=kill_once)
    finally:
        for starting in restarts:
            starting.join()
    assert sum(sent) == path.stat().st_size
    assert client.wait(upload.job_id).state == "ready"
    assert client.video(upload.video_id).title == path.stem
    again = client.upload(path, title="Again")
    assert (again.video_id, again.existing, again.updated) == (upload.video_id, True, True)


class Interrupted(BaseException):
    """Ctrl-C."""


def test_another_run_goes_on_with_an_unfinished_upload(
    url: str, running_service: RunningService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(http, "RESUMABLE_BYTES", 1 << 20)
    path = large(running_service, 3 << 20)

    def interrupt(count: int) -> None:
        sent.append(count)
        if sum(sent) >= 3 << 20:
            raise Interrupted

    sent: list[int] = []
    with Client(url, memory=tmp_path) as first, pytest.raises(Interrupted):
        first.upload(path, on_bytes=interrupt)
    resumed: list[int] = []
    with Client(url, memory=tmp_path) as second:
        upload = second.upload(path, on_bytes=resumed.append)
        assert second.wait(upload.job_id).state == "ready"
    assert resumed[0] >= 1 << 20, "what had arrived is reported at once"
    assert sum(resumed) == path.stat().st_size
    assert list(tmp_path.iterdir()) == []


def test_a_session_of_the_command_line(
    url: str, running_service: RunningService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = running_service.new_video(9)

    def run(*arguments: str) -> str:
        shown = CliRunner().invoke(app, [*arguments, "--url", url])
        assert shown.exit_code == 0, shown.output
        return shown.stdout

    (ingested,) = json.loads(run("ingest", str(path), "--json"))
    assert (ingested["state"], ingested["error"]) == ("ready", None)
    video_id, job_id = ingested["video_id"], ingested["job_id"]
    assert json.loads(run("jobs", "show", job_id, "--json"))["state"] == "ready"
    assert job_id in run("jobs", "list", "--state", "ready")
    found = json.loads(run("search", "a dog", "--top", "100", "--mode", "fast", "--json"))
    assert video_id in {result["video"]["id"] for result in found["results"]}
    assert json.loads(run("videos", "show", video_id, "--json"))["id"] == video_id
    refused = CliRunner().invoke(app, ["jobs", "retry", job_id, "--url", url])
    assert isinstance(refused.exception, Conflict)
    assert json.loads(run("videos", "delete", video_id, "--json")) == {"deleted": video_id}
