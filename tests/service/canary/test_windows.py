"""Windows come back pixel for pixel, of ten videos at most, and go with their video."""

from pathlib import Path

import numpy as np
import pytest

from qasir.errors import CorruptArtifact
from qasir.manifest import Manifest, Preprocessing, Profile, ScoreFusion, TokenizerSpec
from service.canary.windows import VIDEOS, StoredWindow, WindowStore
from service.folders import StateFolders
from service.storage.media import MediaStore
from service.storage.orphans import OrphanFolder
from tests.support.windows import padded, pictures

MANIFEST = Manifest(
    name="m",
    backbone="lite",
    variant="zero-shot",
    weights="w",
    dim=8,
    window=64,
    window_overlap=8,
    grids={2: 64, 3: 64},
    branches=dict.fromkeys(
        (2, 3), ScoreFusion(super_image_weight=0.5, super_image_tau=0.05, cell_tau=0.1)
    ),
    fps=(1.0,),
    preprocessing=Preprocessing(),
    tokenizer=TokenizerSpec(pad_id=0, buckets=(16,)),
    profile=Profile(grid_sizes=(2,), fps=1.0, index_unit="super-image"),
    files={},
)
SPEC = MANIFEST.spec(2)
WINDOW = StoredWindow(pictures(4), padded(4, 2), slice(1, 4), first=60)


@pytest.fixture
def folders(tmp_path: Path) -> StateFolders:
    folders = StateFolders(tmp_path / "state")
    folders.create()
    return folders


def keep(folders: StateFolders, *names: str, reserve: int = 0) -> WindowStore:
    store = WindowStore(folders, reserve)
    for name in names:
        (folders.media / name).mkdir(exist_ok=True)
        store.store(name, MANIFEST, SPEC, WINDOW)
    return store


def test_a_window_comes_back_as_it_was(folders: StateFolders) -> None:
    store = keep(folders, "va")
    assert store.videos(MANIFEST, SPEC) == ["va"]
    read = store.read("va", MANIFEST, SPEC)
    assert read is not None
    assert (read.keep, read.first) == (slice(1, 4), 60)
    np.testing.assert_array_equal(read.pixels, WINDOW.pixels)
    np.testing.assert_array_equal(read.mask, WINDOW.mask)


def test_windows_that_were_cut_otherwise_are_others(folders: StateFolders) -> None:
    store = keep(folders, "va")
    other = MANIFEST.spec(3)
    assert store.videos(MANIFEST, other) == []
    narrow = MANIFEST.model_copy(update={"window": 32})
    assert store.videos(narrow, SPEC) == []


def test_the_newest_stays_and_a_random_one_goes(folders: StateFolders) -> None:
    names = [f"v{number}" for number in range(3 * VIDEOS)]
    store = keep(folders, *names)
    left = set(store.videos(MANIFEST, SPEC))
    assert len(left) == VIDEOS
    assert names[-1] in left


def test_a_deleted_video_gets_no_window(folders: StateFolders) -> None:
    store = WindowStore(folders, 0)
    store.store("vgone", MANIFEST, SPEC, WINDOW)
    assert store.videos(MANIFEST, SPEC) == []


def test_deleting_a_video_takes_its_window_away(folders: StateFolders) -> None:
    store = keep(folders, "va", "vb")
    media = MediaStore(folders, 1, 0)
    media.delete("va", lambda: None)
    swept = media.sweep(set, set, OrphanFolder(folders, 7))
    assert len(swept.orphans.paths) == 2
    assert store.videos(MANIFEST, SPEC) == []


def test_a_window_may_go_between_finding_and_reading_it(folders: StateFolders) -> None:
    store = keep(folders, "va")
    MediaStore(folders, 1, 0).delete("va", lambda: None)
    assert store.read("va", MANIFEST, SPEC) is None


def test_a_full_disk_keeps_nothing_and_breaks_nothing(folders: StateFolders) -> None:
    assert keep(folders, "va", reserve=1 << 60).videos(MANIFEST, SPEC) == []


def test_half_a_window_is_refused(folders: StateFolders) -> None:
    store = keep(folders, "va")
    (path,) = (folders.canary / "va").iterdir()
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(CorruptArtifact, match="is no window"):
        store.read("va", MANIFEST, SPEC)
