"""Unfinished uploads as files: kept through every interruption, finished once."""

import hashlib
import os
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from qasir.contract.videos import Upload, UploadHeader
from qasir.errors import Conflict, InvalidInput, NotFound, Overloaded, StorageFull, UploadTooLarge
from service.catalogue.catalogue import Catalogue
from service.catalogue.videos import Video
from service.folders import StateFolders
from service.storage import uploads
from service.storage.media import MediaStore, ReceivedFile
from service.storage.orphans import OrphanFolder
from service.storage.uploads import UploadInfo, UploadStore
from tests.support.waiting import wait_for

CONTENT = bytes(range(256)) * 40
ABOUT = UploadInfo(
    length=len(CONTENT), metadata_text="filename ZG9n", header=UploadHeader(filename="dog")
)
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

    def accept(self, received: ReceivedFile) -> Upload:
        sha, size = received.sha256, received.bytes
        video = Video(received.video_id, "t", {}, sha, size, 0, 0, 0, "", "", "queued", 1.0)
        accepted = self._media.store(received, lambda: self._catalogue.videos.accept(video))
        return Upload(
            video_id=video.id, job_id=accepted.job.id, state="queued", existing=not accepted.is_new
        )


@pytest.fixture
def library(media: MediaStore, catalogue: Catalogue) -> Library:
    return Library(media, catalogue)


def test_bytes_stay_when_the_process_changes(
    store: UploadStore, folders: StateFolders, media: MediaStore, library: Library
) -> None:
    upload_id = store.create(ABOUT)
    with closing(store.acquire(upload_id)) as upload:
        upload.write(CONTENT[:100])
        assert upload.sync() == 100
    other = UploadStore(folders.uploads / "resumable", media, 3, KEEP_SECONDS)
    with closing(other.acquire(upload_id)) as upload:
        assert (upload.offset, upload.info) == (100, ABOUT)
        upload.write(CONTENT[100:])
        upload.finish(library.accept)
        video_id = f"v{hashlib.sha256(CONTENT).hexdigest()[:20]}"
        assert upload.info.upload is not None
        assert upload.info.upload.video_id == video_id
    assert media.original(video_id).read_bytes() == CONTENT
    with closing(store.acquire(upload_id)) as upload:
        assert upload.info.upload is not None
        assert (upload.offset, upload.info.upload.video_id) == (len(CONTENT), video_id)
    assert not (folders.uploads / "resumable" / upload_id / "data").exists()


class Crash(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("place", ["before the file moved", "before the row", "after the row"])
def test_a_crash_while_finishing_loses_and_doubles_nothing(
    store: UploadStore, media: MediaStore, catalogue: Catalogue, library: Library, place: str
) -> None:
    def crash(received: ReceivedFile) -> Upload:
        if place == "before the row":
            media.store(received, lambda: None)
        elif place == "after the row":
            library.accept(received)
        raise Crash

    upload_id = store.create(ABOUT)
    with closing(store.acquire(upload_id)) as upload:
        upload.write(CONTENT)
        with pytest.raises(Crash):
            upload.finish(crash)
    for _ in range(2):
        with closing(store.acquire(upload_id)) as upload:
            assert upload.offset == len(CONTENT)
            upload.finish(library.accept)
            assert upload.info.upload is not None
            assert [row.id for row in catalogue.jobs.page(10).rows] == [upload.info.upload.job_id]
    assert upload.info.upload is not None
    assert media.original(upload.info.upload.video_id).read_bytes() == CONTENT


def test_what_a_sweep_took_is_begun_again(
    store: UploadStore, media: MediaStore, library: Library, folders: StateFolders
) -> None:
    def crash(received: ReceivedFile) -> Upload:
        media.store(received, lambda: None)
        media.sweep(set, list, OrphanFolder(folders, 7))
        raise Crash

    with closing(store.acquire(store.create(ABOUT))) as upload:
        upload.write(CONTENT)
        with pytest.raises(Crash):
            upload.finish(crash)
        with pytest.raises(NotFound, match="begin it again"):
            upload.finish(library.accept)


def test_no_more_bytes_than_announced(store: UploadStore) -> None:
    with closing(store.acquire(store.create(ABOUT))) as upload:
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
    with closing(store.acquire(first)) as upload:
        upload.write(CONTENT)
        upload.finish(library.accept)
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
    with closing(store.acquire(held)):
        age(root / old, KEEP_SECONDS + 1)
        age(root / held, KEEP_SECONDS + 1)
        with pytest.raises(NotFound, match="expired"):
            store.acquire(old)
        assert store.sweep() == 1
    assert {path.name for path in root.iterdir()} == {held, new}
    for nonsense in ("", "..", "../resumable", "0" * 32, "0" * 5000, "é" * 32):
        with pytest.raises(NotFound):
            store.acquire(nonsense)


def test_the_holder_hears_that_another_wants_it(store: UploadStore) -> None:
    upload_id = store.create(ABOUT)
    first = store.acquire(upload_id)
    taken: list[int] = []

    def take() -> None:
        with closing(store.acquire(upload_id)) as upload:
            taken.append(upload.offset)

    thread = threading.Thread(target=take)
    thread.start()
    wait_for(lambda: first.requested)
    first.write(b"abc")
    first.close()
    thread.join()
    assert taken == [3]


def test_who_does_not_let_go_is_named(store: UploadStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PATIENCE_SECONDS", 0.1)
    upload_id = store.create(ABOUT)
    with closing(store.acquire(upload_id)), pytest.raises(Conflict, match="another request"):
        store.acquire(upload_id)
