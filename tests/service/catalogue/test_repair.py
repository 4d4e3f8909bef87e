"""A catalogue is rebuilt from media and vectors, and orphans come back."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from qasir.errors import Conflict, CorruptArtifact, InvalidConfig
from service.catalogue.catalogue import Catalogue
from service.catalogue.repair import repair
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Details, Video
from service.folders import StateFolders
from service.lock import only_one
from service.storage.media import MediaStore
from service.storage.orphans import OrphanFolder
from tests.support.catalogue import (
    OTHER,
    catalogue_of_another_folder,
    catalogue_of_text,
    catalogue_without_rows,
    catalogue_without_tables,
    drop_a_table,
    empty_catalogue,
    encode_claimed,
    files,
    lose_catalogue,
    overwrite_catalogue,
    six_videos,
    truncate_catalogue,
    upload,
)
from tests.support.videos import PaintedVideo


@pytest.fixture
def library(tmp_path: Path) -> StateFolders:
    return six_videos(StateFolders(tmp_path / "state"))


@pytest.fixture
def media(library: StateFolders) -> MediaStore:
    return MediaStore(library, 1 << 20, 0)


def contents(folders: StateFolders) -> tuple[dict[str, Video], dict[str, VectorFile]]:
    """Every video and every vector file that a catalogue names."""
    with closing(Catalogue(folders.catalogue)) as catalogue:
        videos = catalogue.videos.among(sorted(catalogue.videos.ids()))
        return videos, {file.path: file for file in catalogue.vector_files.all()}


def jobs(folders: StateFolders) -> dict[str, str]:
    """The state of each video's newest job."""
    with closing(Catalogue(folders.catalogue)) as catalogue:
        return {i: catalogue.jobs.newest_of(i).state for i in catalogue.videos.ids()}


LOST = [
    lose_catalogue,
    empty_catalogue,
    catalogue_without_tables,
    catalogue_of_another_folder,
    catalogue_without_rows,
]
DAMAGED = [catalogue_of_text, truncate_catalogue, overwrite_catalogue, drop_a_table]


@pytest.mark.parametrize("damage", [*LOST, *DAMAGED], ids=lambda damage: damage.__name__)
def test_every_video_is_as_it_was(
    library: StateFolders, damage: Callable[[StateFolders], None]
) -> None:
    videos, vectors = contents(library)
    before = files(library.media) | files(library.vectors)
    damage(library)
    steps: list[tuple[int, int]] = []
    report = repair(library, lambda done, total, _: steps.append((done, total)))
    assert steps == [(number, 6) for number in range(6)]
    assert (len(report.ready), len(report.queued)) == (3, 3)
    restored, named = contents(library)
    assert named == vectors
    assert restored.keys() == videos.keys()
    for video_id, video in videos.items():
        # These bytes are no video, so what a container says of itself is not known.
        bare = replace(video, duration=video.indexed_seconds, width=0, height=0)
        assert restored[video_id] == replace(bare, codec="", container="")
    assert jobs(library) == {video_id: video.state for video_id, video in videos.items()}
    assert files(library.media) | files(library.vectors) == before
    assert (report.replaced is not None) == (damage in DAMAGED)


def test_a_container_is_described_again(
    library: StateFolders, media: MediaStore, painted_video: PaintedVideo
) -> None:
    catalogue = Catalogue(library.catalogue)
    video_id = upload(catalogue, media, painted_video(seconds=4).read_bytes(), "painted").video.id
    while catalogue.jobs.queued_count():
        encode_claimed(catalogue, media)
    catalogue.close()
    lose_catalogue(library)
    repair(library)
    video = contents(library)[0][video_id]
    assert (video.title, video.metadata) == ("painted", {"camera": "painted"})
    assert (video.codec, video.width, video.height) == ("h264", 64, 48)
    assert video.duration == pytest.approx(4.0)


def test_titles_of_an_older_catalogue_are_saved(library: StateFolders) -> None:
    videos, _ = contents(library)
    for sidecar in library.media.glob("*/video.json"):
        sidecar.unlink()
    with closing(sqlite3.connect(library.catalogue)) as connection:
        connection.execute("ALTER TABLE videos RENAME COLUMN created_at TO created")
        connection.execute("PRAGMA user_version = 2")
        connection.commit()
    with pytest.raises(InvalidConfig, match=r"version 2.*`qasir repair`"):
        Catalogue(library.catalogue)
    report = repair(library)
    assert report.replaced is not None
    assert (report.replaced / "catalogue.sqlite3").is_file()
    restored, _ = contents(library)
    for video_id, video in videos.items():
        again = restored[video_id]
        assert (again.title, again.created_at) == (video.title, video.created_at)
        assert again.metadata == video.metadata


def test_without_any_title_it_is_the_id(library: StateFolders) -> None:
    for sidecar in library.media.glob("*/video.json"):
        sidecar.unlink()
    lose_catalogue(library)
    repair(library)
    assert all(video.title == video_id for video_id, video in contents(library)[0].items())


def test_orphans_come_back_unless_a_user_deleted_them(
    library: StateFolders, media: MediaStore
) -> None:
    backup = library.catalogue.read_bytes()
    with closing(Catalogue(library.catalogue)) as catalogue:
        newer = upload(catalogue, media, b"newer", "newer").video.id
        while catalogue.jobs.queued_count():
            encode_claimed(catalogue, media)
        gone = sorted(catalogue.videos.ids() - {newer})[0]
    everything = files(library.media) | files(library.vectors)
    lose_catalogue(library)
    library.catalogue.write_bytes(backup)
    with closing(Catalogue(library.catalogue)) as catalogue:
        # As where a crash came before the files were removed.
        catalogue.videos.delete(gone)
        orphans = OrphanFolder(library, 7)
        media.sweep(catalogue.videos.ids, catalogue.vector_files.all, orphans)
    report = repair(library)
    assert (report.ready, report.deleted) == ([newer], [gone])
    videos, _ = contents(library)
    assert videos[newer].title == "newer"
    assert gone not in videos
    # Files of videos that the backup knew as queued have their vectors again.
    assert len(report.renamed_vectors) == 3
    left = files(library.media) | files(library.vectors)
    assert left == {path for path in everything if not path.startswith(gone)}


def test_the_newest_readable_file_of_a_spec_counts(
    library: StateFolders, media: MediaStore
) -> None:
    _, vectors = contents(library)
    first, second, third = sorted(vectors)
    media.vectors(first).write_bytes(b"no vectors")
    newer = media.vectors(second).with_name("newer.npz")
    shutil.copy(media.vectors(second), newer)
    media.vectors("v-without-media").mkdir()
    lose_catalogue(library)
    report = repair(library)
    assert report.unreadable == [first]
    assert report.without_media == ["v-without-media"]
    assert Path(first).parent.name in report.queued
    assert set(contents(library)[1]) == {str(newer.relative_to(library.vectors)), third}


def test_changed_bytes_are_told(library: StateFolders, media: MediaStore) -> None:
    changed = sorted(path.name for path in library.media.iterdir())[0]
    media.original(changed).write_bytes(b"other bytes")
    lose_catalogue(library)
    report = repair(library)
    assert report.changed == [changed]
    assert changed in contents(library)[0]


def test_a_healthy_catalogue_stays_as_it_is(library: StateFolders, media: MediaStore) -> None:
    with closing(Catalogue(library.catalogue)) as catalogue:
        encode_claimed(catalogue, media, OTHER)
    before = contents(library)
    report = repair(library)
    assert report.ready == report.queued == report.renamed_vectors == []
    assert contents(library) == before


def test_an_interrupted_repair_is_begun_again(library: StateFolders) -> None:
    truncate_catalogue(library)

    def crash(done: int, _total: int, _video_id: str) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        repair(library, crash)
    with pytest.raises(CorruptArtifact, match="knows no video"):
        Catalogue(library.catalogue)
    assert len(repair(library).ready) == 3


def test_nothing_is_repaired_under_a_running_process(library: StateFolders) -> None:
    with closing(Catalogue(library.catalogue)), pytest.raises(Conflict, match="stop it"):
        repair(library)
    with (
        only_one(library.run / "worker.lock", "worker"),
        pytest.raises(Conflict, match="another worker"),
    ):
        repair(library)


def test_a_newer_catalogue_is_left_alone(library: StateFolders) -> None:
    with closing(sqlite3.connect(library.catalogue)) as connection:
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    before = library.catalogue.read_bytes()
    with pytest.raises(InvalidConfig, match="version 99"):
        repair(library)
    assert library.catalogue.read_bytes() == before


def test_sidecars_follow_an_edit(library: StateFolders) -> None:
    with closing(Catalogue(library.catalogue)) as catalogue:
        video_id = sorted(catalogue.videos.ids())[0]
        catalogue.videos.update(video_id, Details(title="edited"))
    written = json.loads((library.media / video_id / "video.json").read_text())
    assert written["title"] == "edited"
    lose_catalogue(library)
    repair(library)
    assert contents(library)[0][video_id].title == "edited"
