"""Resumable uploads: kept through every interruption, finished once, by any process."""

import base64
import hashlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from tusclient.client import TusClient
from tusclient.exceptions import TusUploadFailed
from tusclient.uploader.uploader import Uploader

from qasir.errors import Conflict, InvalidInput, NotFound, Overloaded, StorageFull, UploadTooLarge
from service.api import tus
from service.core import Core
from service.settings import Settings
from service.store import uploads
from service.store.catalogue import Accepted, Catalogue
from service.store.folders import StateFolders
from service.store.media import MediaStore, ReceivedFile
from service.store.uploads import About, UploadStore
from service.store.videos import Video
from tests.fixtures.service import RunningService, wait_for
from tests.service.test_contract import Site, core, limited, site

__all__ = ["core", "limited", "site"]

CONTENT = bytes(range(256)) * 40
ABOUT = About(length=len(CONTENT), said="filename ZG9n", title="dog", metadata="")
KEEP_SECONDS = 100.0


@pytest.fixture
def folders(tmp_path: Path) -> StateFolders:
    return StateFolders(tmp_path / "state")


@pytest.fixture
def media(folders: StateFolders) -> MediaStore:
    return MediaStore(folders, max_bytes=1 << 20, reserve_bytes=0)


@pytest.fixture
def catalogue(folders: StateFolders, media: MediaStore) -> Iterator[Catalogue]:
    opened = Catalogue(folders.catalogue)
    yield opened
    opened.close()


@pytest.fixture
def store(folders: StateFolders, media: MediaStore) -> UploadStore:
    return UploadStore(folders.uploads / "resumable", media, 3, KEEP_SECONDS)


class Library:
    """Where finished uploads go."""

    def __init__(self, media: MediaStore, catalogue: Catalogue) -> None:
        self._media = media
        self._catalogue = catalogue

    def keep(self, received: ReceivedFile) -> Accepted:
        sha, size = received.sha256, received.bytes
        video = Video(received.video_id, "t", {}, sha, size, 0, 0, 0, "", "", "queued", 1.0)
        return self._media.keep(received, lambda: self._catalogue.accept(video))


@pytest.fixture
def library(media: MediaStore, catalogue: Catalogue) -> Library:
    return Library(media, catalogue)


def test_bytes_stay_when_the_process_changes(
    store: UploadStore, folders: StateFolders, media: MediaStore, library: Library
) -> None:
    upload_id = store.create(ABOUT)
    with closing(store.hold(upload_id)) as upload:
        upload.write(CONTENT[:100])
        assert upload.sync() == 100
    other = UploadStore(folders.uploads / "resumable", media, 3, KEEP_SECONDS)
    with closing(other.hold(upload_id)) as upload:
        assert (upload.offset, upload.about) == (100, ABOUT)
        upload.write(CONTENT[100:])
        upload.finish(library.keep)
        video_id = f"v{hashlib.sha256(CONTENT).hexdigest()[:20]}"
        assert upload.about.video_id == video_id
    assert media.original(video_id).read_bytes() == CONTENT
    with closing(store.hold(upload_id)) as upload:
        assert (upload.offset, upload.about.video_id) == (len(CONTENT), video_id)
    assert not (folders.uploads / "resumable" / upload_id / "data").exists()


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("place", ["before the file moved", "before the row", "after the row"])
def test_a_crash_while_finishing_loses_and_doubles_nothing(
    store: UploadStore, media: MediaStore, catalogue: Catalogue, library: Library, place: str
) -> None:
    def crash(received: ReceivedFile) -> Accepted:
        if place == "before the row":
            media.keep(received, lambda: None)
        elif place == "after the row":
            library.keep(received)
        raise Crash

    upload_id = store.create(ABOUT)
    with closing(store.hold(upload_id)) as upload:
        upload.write(CONTENT)
        with pytest.raises(Crash):
            upload.finish(crash)
    for _ in range(2):
        with closing(store.hold(upload_id)) as upload:
            assert upload.offset == len(CONTENT)
            upload.finish(library.keep)
            assert upload.about.job_id == catalogue.jobs(0, 10)[0].id
    assert len(catalogue.jobs(0, 10)) == 1
    assert media.original(str(upload.about.video_id)).read_bytes() == CONTENT


def test_what_a_sweep_took_is_begun_again(
    store: UploadStore, media: MediaStore, library: Library
) -> None:
    def crash(received: ReceivedFile) -> Accepted:
        media.keep(received, lambda: None)
        media.sweep(set, list)
        raise Crash

    with closing(store.hold(store.create(ABOUT))) as upload:
        upload.write(CONTENT)
        with pytest.raises(Crash):
            upload.finish(crash)
        with pytest.raises(NotFound, match="begin it again"):
            upload.finish(library.keep)


def test_no_more_bytes_than_announced(store: UploadStore) -> None:
    with closing(store.hold(store.create(ABOUT))) as upload:
        upload.write(CONTENT[:-1])
        with pytest.raises(InvalidInput, match=f"announced as {len(CONTENT)}"):
            upload.write(b"ab")
        assert upload.sync() == len(CONTENT) - 1


def test_unfinished_uploads_are_bounded_in_number_and_bytes(
    store: UploadStore, media: MediaStore, folders: StateFolders, library: Library
) -> None:
    with pytest.raises(UploadTooLarge):
        store.create(ABOUT.model_copy(update={"length": 1 << 21}))
    first, *_ = [store.create(ABOUT) for _ in range(3)]
    with pytest.raises(Overloaded, match="3 uploads are unfinished, the limit is 3"):
        store.create(ABOUT)
    with closing(store.hold(first)) as upload:
        upload.write(CONTENT)
        upload.finish(library.keep)
    store.create(ABOUT)
    # As much is left as one more needs, but it is promised to others.
    stat = os.statvfs(folders.root)
    tight = MediaStore(folders, 1 << 62, stat.f_bavail * stat.f_frsize - (1 << 30))
    roomy = UploadStore(folders.uploads / "roomy", tight, 3, KEEP_SECONDS)
    roomy.create(ABOUT.model_copy(update={"length": 600 << 20}))
    with pytest.raises(StorageFull):
        roomy.create(ABOUT.model_copy(update={"length": 600 << 20}))


def age(folder: Path, seconds: float) -> None:
    for path in (*folder.iterdir(), folder):
        os.utime(path, (time.time() - seconds,) * 2)


def test_uploads_expire_unless_somebody_works_on_them(
    store: UploadStore, folders: StateFolders
) -> None:
    old, held, new = (store.create(ABOUT) for _ in range(3))
    root = folders.uploads / "resumable"
    with closing(store.hold(held)):
        age(root / old, KEEP_SECONDS + 1)
        age(root / held, KEEP_SECONDS + 1)
        with pytest.raises(NotFound, match="expired"):
            store.hold(old)
        assert store.sweep() == 1
    assert {path.name for path in root.iterdir()} == {held, new}
    for nonsense in ("", "..", "../resumable", "0" * 32):
        with pytest.raises(NotFound):
            store.hold(nonsense)


def test_the_holder_hears_that_another_wants_it(store: UploadStore) -> None:
    upload_id = store.create(ABOUT)
    first = store.hold(upload_id)
    taken: list[int] = []

    def take() -> None:
        with closing(store.hold(upload_id)) as upload:
            taken.append(upload.offset)

    thread = threading.Thread(target=take)
    thread.start()
    wait_for(lambda: first.wanted)
    first.write(b"abc")
    first.close()
    thread.join()
    assert taken == [3]


def test_who_does_not_let_go_is_named(store: UploadStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_SECONDS", 0.1)
    upload_id = store.create(ABOUT)
    with closing(store.hold(upload_id)), pytest.raises(Conflict, match="another request"):
        store.hold(upload_id)


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


def test_complete_bytes_become_a_video_even_if_nobody_heard(site: Site, core: Core) -> None:
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
    site.ask("DELETE", f"/v1/videos/{video_id}")


def large(service: RunningService, size: int = 2 << 20) -> Path:
    """A new video of about this many bytes: players skip what is in a `free` box."""
    path = service.new_video()
    with path.open("ab") as file:
        file.write((size + 8).to_bytes(4) + b"free" + os.urandom(size))
    return path


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
