"""Uploaded files: hashed as they arrive, bounded, kept once, deleted whole, swept."""

import hashlib
import threading
from pathlib import Path

import pytest

from qasir.errors import InvalidInput, StorageFull, UploadTooLarge
from service.catalogue.vector_files import VectorFile
from service.folders import StateFolders
from service.storage.media import MediaStore, ReceivedFile
from service.storage.orphans import OrphanFolder

CONTENT = b"moving pictures"


@pytest.fixture
def folders(tmp_path: Path) -> StateFolders:
    return StateFolders(tmp_path / "state")


@pytest.fixture
def media(folders: StateFolders) -> MediaStore:
    return MediaStore(folders, max_bytes=1000, reserve_bytes=0)


def kept(media: MediaStore, content: bytes = CONTENT) -> str:
    with media.receive() as reception:
        reception.write(content)
        received = reception.finish()
        return media.store(received, lambda: received.video_id)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_a_new_state_folder_is_its_owners_alone(tmp_path: Path) -> None:
    fresh = StateFolders(tmp_path / "fresh")
    fresh.create()
    assert fresh.root.stat().st_mode & 0o777 == 0o700
    fresh.root.chmod(0o750)
    fresh.create()
    assert fresh.root.stat().st_mode & 0o777 == 0o750


def test_id_follows_from_the_bytes(media: MediaStore) -> None:
    video_id = kept(media)
    assert video_id == "v" + hashlib.sha256(CONTENT).hexdigest()[:20]
    assert media.original(video_id).read_bytes() == CONTENT


def test_same_bytes_are_kept_once(media: MediaStore, folders: StateFolders) -> None:
    assert kept(media) == kept(media)
    assert len(files(folders.media)) == 1
    assert files(folders.uploads) == set()


def test_what_was_not_kept_leaves_nothing(media: MediaStore, folders: StateFolders) -> None:
    with media.receive() as reception:
        reception.write(CONTENT)
    assert files(folders.root / "media") | files(folders.uploads) == set()


def test_limit_holds_before_and_while_bytes_arrive(media: MediaStore) -> None:
    with pytest.raises(UploadTooLarge, match="2000 bytes or more: the limit is 1000"):
        media.receive(expected_bytes=2000)
    with media.receive() as reception, pytest.raises(UploadTooLarge):
        reception.write(bytes(600) + bytes(401))


def test_empty_upload_is_refused(media: MediaStore) -> None:
    with media.receive() as reception, pytest.raises(InvalidInput, match="0 bytes"):
        reception.finish()


def test_reserve_of_the_disk_is_not_touched(folders: StateFolders) -> None:
    full = MediaStore(folders, max_bytes=1000, reserve_bytes=1 << 60)
    with pytest.raises(StorageFull, match="QASIR_DISK_RESERVE_BYTES"):
        full.receive()


def test_delete_forgets_before_it_removes(media: MediaStore, folders: StateFolders) -> None:
    video_id = kept(media)
    vectors = media.vectors(f"{video_id}/x.npz")
    vectors.parent.mkdir()
    vectors.touch()
    there = []
    media.delete(video_id, lambda: there.append(media.original(video_id).exists()))
    assert there == [True]
    assert files(folders.media) | files(folders.vectors) | files(folders.uploads) == set()


def test_delete_that_fails_keeps_the_file(media: MediaStore) -> None:
    video_id = kept(media)

    def refuse() -> None:
        raise KeyError

    with pytest.raises(KeyError):
        media.delete(video_id, refuse)
    assert media.original(video_id).is_file()


def test_delete_waits_while_the_same_bytes_are_kept(media: MediaStore) -> None:
    video_id = kept(media)
    order: list[str] = []
    keeping, go_on = threading.Event(), threading.Event()

    def register() -> None:
        keeping.set()
        go_on.wait(5)
        order.append("kept")

    def keep() -> None:
        with media.receive() as reception:
            reception.write(CONTENT)
            media.store(reception.finish(), register)

    def delete() -> None:
        media.delete(video_id, lambda: order.append("deleted"))

    keeper, deleter = threading.Thread(target=keep), threading.Thread(target=delete)
    keeper.start()
    keeping.wait(5)
    deleter.start()
    deleter.join(0.2)
    go_on.set()
    keeper.join()
    deleter.join()
    assert order == ["kept", "deleted"]


def test_sweep_sets_aside_exactly_what_no_row_names(
    media: MediaStore, folders: StateFolders
) -> None:
    known, orphan = kept(media), kept(media, b"other")
    for path in (f"{known}/named.npz", f"{known}/unnamed.npz", f"{orphan}/any.npz"):
        media.vectors(path).parent.mkdir(exist_ok=True)
        media.vectors(path).touch()
    for grid_size in (2, 3):
        media.previews(known, grid_size, 1.0).mkdir(parents=True)
    named = VectorFile(known, "f" * 16, 2, 64, 1.0, f"{known}/named.npz", 9, 3, 9.0)
    (folders.uploads / "dead.part").touch()
    with media.receive() as alive:
        alive.write(CONTENT)
        swept = media.sweep(lambda: {known}, lambda: [named], OrphanFolder(folders, 7))
        assert len(files(folders.uploads)) == 1
        alive.finish()
    assert (swept.uploads, len(swept.orphans.paths)) == (1, 4)
    assert files(swept.orphans.folder) == {
        f"media/{orphan}/original",
        f"vectors/{orphan}/any.npz",
        f"vectors/{known}/unnamed.npz",
    }
    assert (swept.orphans.folder / f"media/{known}/sheets/n3-fps1").is_dir()
    assert files(folders.media) == {f"{known}/original"}
    assert files(folders.vectors) == {f"{known}/named.npz"}
    assert media.previews(known, 2, 1.0).is_dir()
    assert not media.previews(known, 3, 1.0).exists()


def test_tidy_leaves_other_videos_and_what_rows_name(
    media: MediaStore, folders: StateFolders
) -> None:
    mine, other = kept(media), kept(media, b"other")
    for path in (f"{mine}/named.npz", f"{mine}/half.npz", f"{other}/half.npz"):
        media.vectors(path).parent.mkdir(exist_ok=True)
        media.vectors(path).touch()
    media.previews(mine, 3, 1.0).mkdir(parents=True)
    named = VectorFile(mine, "f" * 16, 2, 64, 1.0, f"{mine}/named.npz", 9, 3, 9.0)
    media.tidy(mine, lambda: [named])
    assert files(folders.vectors) == {f"{mine}/named.npz", f"{other}/half.npz"}
    assert not media.previews(mine, 3, 1.0).parent.exists()
    media.tidy(mine, list)
    assert files(folders.vectors) == {f"{other}/half.npz"}
    assert not (folders.vectors / mine).exists()
    assert media.original(mine).is_file()


def test_received_file_names_its_video() -> None:
    assert ReceivedFile(Path("x"), "ab" * 32, 1).video_id == "v" + "ab" * 10
