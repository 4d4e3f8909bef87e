"""A vector file that is missing or damaged: its row goes, and its video is encoded again."""

import errno
import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from service.catalogue.backfills import Target
from service.catalogue.catalogue import Catalogue
from service.catalogue.vector_files import EIO_PATIENCE_SECONDS
from service.folders import StateFolders
from service.storage.media import MediaStore
from tests.support.catalogue import SPEC, encode_claimed, upload


@pytest.fixture
def folders(tmp_path: Path) -> StateFolders:
    return StateFolders(tmp_path / "state")


@pytest.fixture
def media(folders: StateFolders) -> MediaStore:
    return MediaStore(folders, 1 << 20, 0)


@pytest.fixture
def catalogue(folders: StateFolders, media: MediaStore) -> Iterator[Catalogue]:
    opened = Catalogue(folders.catalogue)
    yield opened
    opened.close()


@pytest.fixture
def path(catalogue: Catalogue, media: MediaStore, folders: StateFolders) -> str:
    """The vector file of the only video, which is ready."""
    upload(catalogue, media, b"moving pictures", "title")
    return str(encode_claimed(catalogue, media).relative_to(folders.vectors))


@pytest.mark.parametrize("content", [None, b"", b"half of", "truncated", "of another spec"])
def test_a_damaged_file_is_encoded_again(
    catalogue: Catalogue, media: MediaStore, path: str, content: bytes | str | None
) -> None:
    file = media.vectors(path)
    video_id = file.parent.name
    if content is None:
        file.unlink()
    elif content == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    elif content == "of another spec":
        with_other = b'"resolution":96'
        file.write_bytes(file.read_bytes().replace(b'"resolution":64', with_other))
    elif isinstance(content, bytes):
        file.write_bytes(content)
    before = catalogue.changes.number()
    assert catalogue.vector_files.report_unreadable(path)
    assert catalogue.videos.get(video_id).state == "queued"
    assert catalogue.jobs.newest_of(video_id).state == "queued"
    assert catalogue.vector_files.all() == []
    assert catalogue.changes.since(SPEC, before).gone == {video_id}
    # Every process that reads the library finds it, and one report is enough.
    assert not catalogue.vector_files.report_unreadable(path)
    assert len(catalogue.jobs.page(9).rows) == 2
    encode_claimed(catalogue, media)
    assert catalogue.videos.get(video_id).state == "ready"
    assert catalogue.totals([SPEC]).unreadable_files == 1


def test_a_readable_file_stays(catalogue: Catalogue, path: str) -> None:
    assert not catalogue.vector_files.report_unreadable(path)
    assert not catalogue.vector_files.report_unreadable("v/of-nobody.npz")
    assert [file.path for file in catalogue.vector_files.all()] == [path]
    assert all(catalogue.vector_files.looks_whole(file) for file in catalogue.vector_files.all())


@contextmanager
def failing_reads(code: int) -> Iterator[None]:
    """Let every file give an error when it is opened, as on a share that is away."""

    def fail(self: Path, *_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(self))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "open", fail)
        yield


@pytest.mark.parametrize("code", [errno.EIO, errno.ESTALE, errno.EACCES])
def test_a_file_that_cannot_be_opened_now_is_looked_at_again(
    catalogue: Catalogue, path: str, code: int
) -> None:
    """A share that is away must not make the worker encode the whole library again."""
    files = catalogue.vector_files
    with failing_reads(code):
        for _ in range(2):
            assert not files.report_unreadable(path)
    assert [file.path for file in files.all()] == [path]
    # It stays marked until it is read, whichever process tries; one mark is enough.
    assert [file.path for file in files.inaccessible()] == [path]
    before = catalogue.changes.number()
    with failing_reads(code):
        assert not files.report_unreadable(path)
    assert catalogue.changes.number() == before
    assert not files.report_unreadable(path)
    assert files.inaccessible() == []
    # Every searcher that lacks the video reads its file again.
    assert [file.path for file in catalogue.changes.since(SPEC, before).files] == [path]
    assert catalogue.totals([SPEC]).unreadable_files == 0


def test_a_marked_file_that_turns_out_damaged_is_encoded_again(
    catalogue: Catalogue, media: MediaStore, path: str
) -> None:
    with failing_reads(errno.ESTALE):
        catalogue.vector_files.report_unreadable(path)
    media.vectors(path).write_bytes(b"half of")
    assert catalogue.vector_files.report_unreadable(path)
    assert catalogue.vector_files.inaccessible() == []
    encode_claimed(catalogue, media)
    (file,) = catalogue.vector_files.inaccessible()
    assert not catalogue.vector_files.report_unreadable(file.path)
    assert catalogue.vector_files.inaccessible() == []


def test_a_disk_that_fails_for_long_is_damage(
    folders: StateFolders, media: MediaStore, catalogue: Catalogue, path: str
) -> None:
    now = 1000.0
    with (
        closing(Catalogue(folders.catalogue, clock=lambda: now)) as later,
        failing_reads(errno.EIO),
    ):
        assert not later.vector_files.report_unreadable(path)
        now += EIO_PATIENCE_SECONDS
        assert later.vector_files.report_unreadable(path)
    assert catalogue.videos.get(Path(path).parent.name).state == "queued"


def test_vectors_that_no_search_uses_are_only_missing(
    catalogue: Catalogue, media: MediaStore, path: str
) -> None:
    video_id = Path(path).parent.name
    media.vectors(path).write_bytes(b"half of")
    assert catalogue.vector_files.report_unreadable(path, searched=False)
    assert catalogue.videos.get(video_id).state == "ready"
    assert len(catalogue.jobs.page(9).rows) == 1
    assert catalogue.backfills.coverage([SPEC]).missing == 1
    claim = catalogue.queue.claim("me", [Target(1, (SPEC,))])
    assert claim is not None
    assert (claim.job.kind, claim.job.video_id) == ("backfill", video_id)


def test_a_failed_video_keeps_its_state(catalogue: Catalogue, media: MediaStore, path: str) -> None:
    """Whoever cancelled a job has decided; a retry encodes it."""
    video_id = Path(path).parent.name
    media.vectors(path).unlink()
    catalogue.vector_files.report_unreadable(path)
    job = catalogue.jobs.newest_of(video_id)
    catalogue.jobs.cancel(job.id)
    assert catalogue.videos.get(video_id).state == "cancelled"
    catalogue.jobs.retry(job.id)
    encode_claimed(catalogue, media)
    assert catalogue.videos.get(video_id).state == "ready"
