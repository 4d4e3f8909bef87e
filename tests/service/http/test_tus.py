"""tus over HTTP: every word of it, and tuspy against the real service."""

import base64
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.uploader.uploader import Uploader

from service.app import AppState
from service.http import tus
from service.settings import Settings
from tests.support.service import RunningService, large
from tests.support.site import Site
from tests.support.waiting import wait_for

CONTENT = bytes(range(256)) * 40
SPEAK = {"Tus-Resumable": "1.0.0"}


def create(site: Site, length: int = 9, **metadata: str) -> httpx.Response:
    pairs = [f"{key} {base64.b64encode(v.encode()).decode()}" for key, v in metadata.items()]
    said = {"Upload-Length": str(length), "Upload-Metadata": ",".join(pairs)}
    return site.ask("POST", "/v1/uploads", headers=SPEAK | said)


def patch(site: Site, url: str, offset: int, body: bytes, **headers: str) -> httpx.Response:
    said = {**SPEAK, "Upload-Offset": str(offset), "Content-Type": tus.BODY_TYPE, **headers}
    return site.ask("PATCH", url, content=body, headers=said)


def test_tus_says_what_it_speaks(site: Site, limited: Settings) -> None:
    for path in ("/v1/uploads", "/v1/uploads/any"):
        answer = site.ask("OPTIONS", path)
        assert answer.status_code == 204
        assert answer.headers["tus-version"] == answer.headers["tus-resumable"] == "1.0.0"
        assert answer.headers["tus-extension"] == "creation,termination,expiration"
        assert answer.headers["tus-max-size"] == str(limited.max_upload_bytes)


def test_tus_from_creation_to_termination(site: Site) -> None:
    made = create(site, 9, filename="über dog.mp4", metadata='{"camera": 3}')
    url = made.headers["location"]
    assert (made.status_code, url.startswith("/v1/uploads/")) == (201, True)
    assert "GMT" in made.headers["upload-expires"]
    head = site.ask("HEAD", url, headers=SPEAK)
    assert (head.status_code, head.headers["upload-offset"]) == (200, "0")
    assert (head.headers["upload-length"], head.headers["cache-control"]) == ("9", "no-store")
    assert tus.read_metadata(head.headers["upload-metadata"])["filename"] == "über dog.mp4"
    sent = patch(site, url, 0, b"abcd")
    assert (sent.status_code, sent.headers["upload-offset"]) == (204, "4")
    stale = patch(site, url, 0, b"abcd")
    assert (stale.status_code, stale.json()["code"]) == (409, "conflict")
    over = patch(site, url, 4, b"efghijk")
    assert (over.status_code, over.json()["code"]) == (422, "invalid_input")
    assert site.ask("HEAD", url, headers=SPEAK).headers["upload-offset"] == "4"
    assert site.ask("DELETE", url, headers=SPEAK).status_code == 204
    for method in ("HEAD", "DELETE"):
        assert site.ask(method, url, headers=SPEAK).status_code == 404
    assert patch(site, url, 4, b"efghi").status_code == 404


@pytest.mark.parametrize(
    ("method", "headers", "status", "code"),
    [
        ("POST", {}, 412, "unsupported_protocol"),
        ("POST", {"Tus-Resumable": "0.2.2"}, 412, "unsupported_protocol"),
        ("POST", SPEAK, 422, "invalid_input"),
        ("POST", SPEAK | {"Upload-Length": "-1"}, 422, "invalid_input"),
        ("POST", SPEAK | {"Upload-Length": "0"}, 422, "invalid_input"),
        ("POST", SPEAK | {"Upload-Length": "9" * 19}, 413, "upload_too_large"),
        (
            "POST",
            SPEAK | {"Upload-Length": "1", "Upload-Metadata": "filename %"},
            422,
            "invalid_input",
        ),
        (
            "POST",
            SPEAK | {"Upload-Length": "1", "Upload-Metadata": "metadata WzFd"},
            422,
            "invalid_input",
        ),
        ("PATCH", SPEAK, 415, "unsupported_media"),
        ("PATCH", SPEAK | {"Content-Type": tus.BODY_TYPE}, 422, "invalid_input"),
    ],
)
def test_tus_refusals_are_problems(
    site: Site, method: str, headers: dict[str, str], status: int, code: str
) -> None:
    path = "/v1/uploads" if method == "POST" else "/v1/uploads/0"
    answer = site.ask(method, path, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["tus-resumable"] == "1.0.0"


def test_complete_bytes_become_a_video_even_if_nobody_heard(site: Site, core: AppState) -> None:
    url = create(site, len(CONTENT), title="Two dogs", metadata='{"camera": 3}').headers["location"]
    done = patch(site, url, 0, CONTENT)
    video_id, job_id = done.headers["qasir-video-id"], done.headers["qasir-job-id"]
    head = site.ask("HEAD", url, headers=SPEAK)
    assert (head.headers["qasir-video-id"], head.headers["qasir-job-id"]) == (video_id, job_id)
    assert head.headers["upload-offset"] == head.headers["upload-length"]
    video = site.ask("GET", f"/v1/videos/{video_id}").json()
    assert (video["title"], video["metadata"], video["bytes"]) == (
        "Two dogs",
        {"camera": 3},
        len(CONTENT),
    )
    other = create(site, len(CONTENT)).headers["location"]
    again = patch(site, other, 0, CONTENT)
    assert again.headers["qasir-video-id"] == video_id
    for answer in (again, site.ask("HEAD", other, headers=SPEAK)):
        assert answer.headers["qasir-existing"] == "true"
    flags = {"qasir-existing", "qasir-updated"}
    assert not flags & {*done.headers, *head.headers}
    assert "qasir-updated" not in again.headers
    third = create(site, len(CONTENT), title="Three dogs").headers["location"]
    for answer in (patch(site, third, 0, CONTENT), site.ask("HEAD", third, headers=SPEAK)):
        assert [answer.headers[name] for name in sorted(flags)] == ["true", "true"]
    video = site.ask("GET", f"/v1/videos/{video_id}").json()
    assert (video["title"], video["metadata"]) == ("Three dogs", {"camera": 3})
    site.ask("DELETE", f"/v1/videos/{video_id}")


@contextmanager
def tuspy(service: RunningService, path: Path, **options: Any) -> Iterator[Uploader]:
    client = TusClient(f"{service.http.base_url}/v1/uploads")
    with path.open("rb") as file:
        yield client.uploader(file_stream=file, metadata={"filename": path.name}, **options)


def assert_finished(service: RunningService, up: Uploader, path: Path) -> None:
    headers = vars(up)["request"].response_headers
    video_id, job_id = headers["qasir-video-id"], headers["qasir-job-id"]
    assert service.finished(job_id)["state"] == "ready"
    assert service.http.get(f"/v1/videos/{video_id}").json()["title"] == path.stem
    assert service.http.get(f"/v1/videos/{video_id}/media").content == path.read_bytes()
    assert video_id in service.found()


def test_tuspy_uploads_through_both_processes(running_service: RunningService) -> None:
    """Each chunk comes by a connection of its own, so either process may get it."""
    path = large(running_service)
    with tuspy(running_service, path, chunk_size=200_000) as up:
        up.upload()
        assert_finished(running_service, up, path)


def test_tuspy_goes_on_after_the_service_was_killed(running_service: RunningService) -> None:
    path = large(running_service)
    with tuspy(running_service, path, chunk_size=300_000) as up:
        up.upload(stop_at=900_000)
        running_service.kill(running_service.service)
        with pytest.raises(TusUploadFailed):
            up.upload(stop_at=1_200_000)
        running_service.start(running_service.service)
    with tuspy(running_service, path, url=up.url) as again:
        assert again.offset == 900_000
        again.upload()
        assert_finished(running_service, again, path)


@pytest.mark.parametrize("closes", [True, False])
def test_a_broken_connection_keeps_what_arrived(
    running_service: RunningService, closes: bool
) -> None:
    """Also one that nobody closed, which the service cannot yet know to be dead."""
    path = large(running_service)
    with tuspy(running_service, path) as up:
        location = up.create_url()
    size, content = path.stat().st_size, path.read_bytes()
    url = httpx.URL(location)
    head = (
        f"PATCH {url.path} HTTP/1.1\r\nHost: x\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
        f"Content-Type: {tus.BODY_TYPE}\r\nContent-Length: {size}\r\n\r\n"
    )
    folder = running_service.settings.folders.uploads / "resumable" / url.path.split("/")[-1]
    with socket.create_connection((url.host, url.port or 80)) as connection:
        connection.sendall(head.encode() + content[:1_500_000])
        wait_for(lambda: (folder / "data").stat().st_size >= 1 << 20)
        if closes:
            connection.close()
        with tuspy(running_service, path, url=location) as again:
            assert again.offset == 1_500_000
            again.upload()
            assert_finished(running_service, again, path)
