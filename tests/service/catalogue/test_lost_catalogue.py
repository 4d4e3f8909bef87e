"""A catalogue that is missing, empty or damaged stops every start, and removes nothing."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
from sqlalchemy import text

from qasir.errors import Conflict, CorruptArtifact
from service.catalogue.catalogue import Catalogue
from service.catalogue.db import Database
from service.folders import StateFolders
from service.lock import only_one
from service.storage.media import MediaStore
from service.storage.orphans import OrphanFolder
from tests.support.catalogue import (
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


@pytest.fixture
def folders(tmp_path: Path) -> StateFolders:
    return StateFolders(tmp_path / "state")


@pytest.fixture
def media(folders: StateFolders) -> MediaStore:
    return MediaStore(folders, 1 << 20, 0)


@pytest.fixture
def library(folders: StateFolders) -> StateFolders:
    return six_videos(folders)


LOST = [
    lose_catalogue,
    empty_catalogue,
    catalogue_without_tables,
    catalogue_of_another_folder,
    catalogue_without_rows,
]
DAMAGED = [catalogue_of_text, truncate_catalogue, overwrite_catalogue, drop_a_table]
Damage = Callable[[StateFolders], None]


@pytest.mark.parametrize("damage", LOST, ids=lambda damage: damage.__name__)
def test_no_start_without_the_catalogue(library: StateFolders, damage: Damage) -> None:
    damage(library)
    before = files(library.media) | files(library.vectors)
    with pytest.raises(CorruptArtifact, match="media of 6 videos and vectors of 3") as raised:
        Catalogue(library.catalogue)
    assert str(library.catalogue) in str(raised.value)
    assert "`qasir repair`" in str(raised.value)
    assert files(library.media) | files(library.vectors) == before


@pytest.mark.parametrize("damage", DAMAGED, ids=lambda damage: damage.__name__)
def test_damage_is_a_typed_error(library: StateFolders, damage: Damage) -> None:
    damage(library)
    with pytest.raises(CorruptArtifact, match=r"is damaged .*`qasir repair`"):
        Catalogue(library.catalogue)


def test_damage_while_open_is_a_typed_error(library: StateFolders) -> None:
    database = Database(library.catalogue)
    with database.reading():
        overwrite_catalogue(library)
        # A second connection: the first one has the pages in memory.
        with pytest.raises(CorruptArtifact, match="is damaged"), database.reading() as connection:
            connection.execute(text("SELECT * FROM videos"))
    database.close()


@pytest.mark.parametrize("module", ["service.ingest", "service.http", "service.models"])
@pytest.mark.parametrize(
    "damage", [lose_catalogue, catalogue_of_another_folder, truncate_catalogue]
)
def test_every_process_refuses(library: StateFolders, module: str, damage: Damage) -> None:
    damage(library)
    before = files(library.media) | files(library.vectors)
    command = [sys.executable, "-m", module, *(["list"] if module == "service.models" else [])]
    ended = subprocess.run(
        command,
        env={**os.environ, "QASIR_STATE": str(library.root), "QASIR_GRPC_PORT": "50999"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert ended.returncode != 0
    assert "`qasir repair`" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert files(library.media) | files(library.vectors) == before


def test_a_new_state_folder_needs_no_catalogue(folders: StateFolders, media: MediaStore) -> None:
    Catalogue(folders.catalogue).close()
    Catalogue(folders.catalogue).close()


def test_a_first_upload_that_crashed_stops_no_start(
    folders: StateFolders, media: MediaStore
) -> None:
    """Its file is in place and was never acknowledged; it is set aside, not removed."""
    catalogue = Catalogue(folders.catalogue)
    with media.receive() as writer:
        writer.write(b"moving pictures")
        received = writer.finish()
        media.store(received, lambda: None)
    catalogue.close()
    catalogue = Catalogue(folders.catalogue)
    swept = media.sweep(catalogue.videos.ids, list, OrphanFolder(folders, 7))
    assert files(swept.orphans.folder) == {f"media/{received.video_id}/original"}
    catalogue.close()


def test_deleting_the_last_video_stops_no_start(library: StateFolders, media: MediaStore) -> None:
    """Not even where a crash came between the rows and the files."""
    catalogue = Catalogue(library.catalogue)
    for video_id in catalogue.videos.ids():
        catalogue.videos.delete(video_id)
    catalogue.close()
    Catalogue(library.catalogue).close()


def test_videos_newer_than_the_catalogue_are_set_aside(
    library: StateFolders, media: MediaStore
) -> None:
    backup = library.catalogue.read_bytes()
    catalogue = Catalogue(library.catalogue)
    newer = upload(catalogue, media, b"newer", "newer").video.id
    while catalogue.jobs.queued_count():
        encode_claimed(catalogue, media)
    catalogue.close()
    lose_catalogue(library)
    library.catalogue.write_bytes(backup)
    catalogue = Catalogue(library.catalogue)
    everything = files(library.media) | files(library.vectors)
    orphans = OrphanFolder(library, 7, lambda: date(2025, 1, 31))
    media.sweep(catalogue.videos.ids, catalogue.vector_files.all, orphans)
    catalogue.close()
    aside = library.orphans / "2025-01-31"
    assert {f"{newer}/original", f"{newer}/video.json"} <= files(aside / "media")
    # Vectors of videos that the backup knows as queued are orphans, too.
    assert len(files(aside / "vectors")) == 4
    kept = files(library.media) | files(library.vectors)
    assert kept | files(aside / "media") | files(aside / "vectors") == everything


def test_orphans_stay_for_days(folders: StateFolders, media: MediaStore) -> None:
    today = date(2025, 1, 31)
    orphans = OrphanFolder(folders, 7, lambda: today)
    for name in ("va", "vb"):
        (folders.media / name).mkdir()
        (folders.media / name / "original").touch()
        media.sweep(set, list, orphans)
    (folders.orphans / "notes of the operator").mkdir()
    assert {path.name for path in folders.orphans.iterdir()} >= {"2025-01-31", "2025-01-31.1"}
    today = date(2025, 2, 7)
    assert orphans.expire() == 0
    today = date(2025, 2, 8)
    assert orphans.expire() == 2
    assert [path.name for path in folders.orphans.iterdir()] == ["notes of the operator"]


def test_titles_survive_beside_the_media(library: StateFolders) -> None:
    catalogue = Catalogue(library.catalogue)
    lost = sorted(library.media.glob("*/video.json"))[0]
    written = lost.read_bytes()
    lost.unlink()
    assert catalogue.videos.write_sidecars() == 1
    assert lost.read_bytes() == written
    assert b"title" in written
    assert catalogue.videos.write_sidecars() == 0
    catalogue.close()


def test_nobody_opens_a_catalogue_under_repair(library: StateFolders) -> None:
    with (
        only_one(library.run / "catalogue.lock", "repair"),
        pytest.raises(Conflict, match="repair is running"),
    ):
        Catalogue(library.catalogue)


def test_a_catalogue_of_no_changes_table_is_refused(library: StateFolders) -> None:
    database = Database(library.catalogue)
    with database.writing() as connection:
        connection.execute(text("PRAGMA user_version = 0"))
    database.close()
    with pytest.raises(CorruptArtifact, match="version 0"):
        Catalogue(library.catalogue)
