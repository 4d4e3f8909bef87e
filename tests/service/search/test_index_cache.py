"""The index of a process: as of the newest change, whatever the files are like."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from qasir import kernels
from qasir.config import IndexUnit
from qasir.errors import Overloaded
from qasir.filters import Filter
from qasir.manifest import EmbeddingSpec, Manifest, read_manifest
from qasir.types import Float32, VideoInfo
from qasir.vectors import VideoVectors, read_vectors, write_vectors
from service.catalogue.catalogue import Catalogue
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video
from service.folders import StateFolders
from service.search.index_cache import IndexCache
from service.storage.media import MediaStore

INFO = VideoInfo(4.0, 64, 48, 10.0, "h264", "mov,mp4", 0)


class Shop:
    """A library with the catalogue and files behind it."""

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        folders = StateFolders(folder)
        self.media = MediaStore(folders, 1000, 0)
        self.catalogue = Catalogue(folders.catalogue)
        self.folders = folders
        self.index_cache = self.another_process()
        self.manifest = manifest
        self.spec = manifest.spec(2)

    def another_process(self) -> IndexCache:
        return IndexCache(self.folders.index, self.catalogue, self.media, patience_seconds=0.1)

    def vector(self, seed: int) -> Float32:
        vector = np.random.default_rng(seed).standard_normal(self.manifest.dim)
        return np.asarray(vector / np.linalg.norm(vector), np.float32)

    def index(self, name: str, seed: int, *, broken: bool = False) -> None:
        """Commit a video of one super image."""
        video = Video(f"v{name}", name, {}, name, 1, 0, 0, 0, "", "", "queued", 1.0)
        self.catalogue.videos.accept(video)
        mine = self.catalogue.queue.claim("me")
        assert mine is not None
        path = f"{video.id}/{seed}.npz"
        mask, times = np.ones((1, 4), np.bool_), np.zeros((1, 4, 2))
        # Its cells are another direction each: a search over them finds other videos.
        rows = [self.vector(seed), *(self.vector(100 * seed + cell) for cell in range(4))]
        embeddings = np.stack(rows).astype(np.float16)[None]
        write_vectors(VideoVectors(self.spec, embeddings, mask, times), self.media.vectors(path))
        if broken:
            self.media.vectors(path).write_bytes(b"half of")
        file = VectorFile(
            video.id, **dict(self.spec), path=path, frames=4, super_images=1, seconds=4.0
        )
        assert self.catalogue.queue.commit(mine, INFO, [file])

    def search(
        self, seed: int, spec: EmbeddingSpec | None = None, unit: IndexUnit = "super-image"
    ) -> list[tuple[str, float]]:
        profile = self.manifest.profile.model_copy(update={"index_unit": unit})
        manifest = self.manifest.model_copy(update={"profile": profile})
        recall = self.index_cache.search(
            manifest, spec or self.spec, self.vector(seed), count=10
        ).recall
        scores = [round(float(score), 2) for score in recall.scores]
        return list(zip(recall.ids, scores, strict=True))


@pytest.fixture
def shop(tmp_path: Path, tiny_export: Path) -> Iterator[Shop]:
    opened = Shop(tmp_path / "state", read_manifest(tiny_export))
    yield opened
    opened.catalogue.close()


def test_search_is_as_of_the_newest_change(shop: Shop) -> None:
    assert shop.search(1) == []
    shop.index("a", 1)
    assert shop.search(1) == [("va", 1.0)]
    shop.index("b", 2)
    assert [video_id for video_id, _ in shop.search(2)] == ["vb", "va"]
    shop.catalogue.videos.delete("va")
    assert [video_id for video_id, _ in shop.search(1)] == ["vb"]


def test_recall_tells_what_was_searched(shop: Shop) -> None:
    shop.index("a", 1)
    shop.index("b", 2)
    found = shop.index_cache.search(shop.manifest, shop.spec, shop.vector(1), count=1)
    assert (found.recall.count, found.recall.seconds, list(found.vectors)) == (2, 8.0, ["va"])
    assert found.change_number == shop.catalogue.changes.number()


def test_video_that_came_back_has_its_new_vectors(shop: Shop) -> None:
    shop.index("a", 1)
    shop.search(1)
    shop.catalogue.videos.delete("va")
    shop.index("a", 2)
    assert shop.search(2) == [("va", 1.0)]


def test_unreadable_vectors_cost_one_video_not_the_search(shop: Shop) -> None:
    shop.index("a", 1)
    shop.index("b", 2, broken=True)
    assert shop.search(1) == [("va", 1.0)]
    shop.index("c", 3)
    assert {video_id for video_id, _ in shop.search(3)} == {"va", "vc"}


def test_unreadable_vectors_are_reported_and_made_again(shop: Shop) -> None:
    shop.index("a", 1)
    shop.index("b", 2, broken=True)
    assert shop.search(1) == [("va", 1.0)]
    assert shop.catalogue.videos.get("vb").state == "ready"
    shop.index_cache.report_unreadable([shop.spec])
    assert shop.catalogue.videos.get("vb").state == "queued"
    assert shop.catalogue.videos.get("va").state == "ready"
    shop.index_cache.report_unreadable([shop.spec])
    assert shop.catalogue.totals([shop.spec]).jobs["queued"] == 1
    shop.index_cache.load(shop.manifest, shop.spec)
    assert shop.index_cache.unreadable(shop.manifest, shop.spec) == frozenset()


def test_fingerprints_never_mix(shop: Shop) -> None:
    shop.index("a", 1)
    assert shop.search(1)
    other = shop.spec.model_copy(update={"fingerprint": "0" * 16})
    assert shop.search(1, other) == []
    assert shop.search(1) == [("va", 1.0)]


def test_profile_says_what_recall_holds(shop: Shop) -> None:
    """One process may be asked under both, as when another profile is activated."""
    shop.index("a", 1)
    shop.index("b", 2)
    cell_of_b = 203
    for _ in range(2):
        assert shop.search(1)[0] == ("va", 1.0)
        best, score = shop.search(cell_of_b, unit="cell")[0]
        assert best == "vb"
        assert score > shop.search(cell_of_b)[0][1]


def test_files_of_another_model_are_never_read(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """What an earlier version of qasir wrote has another fingerprint: its format is no matter."""
    shop.index("a", 1)
    old = shop.spec.model_copy(update={"fingerprint": "0" * 16})
    shop.spec, current = old, shop.spec
    shop.index("b", 2, broken=True)
    shop.spec = current
    read: list[str] = []

    def reading(path: Path) -> VideoVectors:
        read.append(path.parent.name)
        return read_vectors(path)

    monkeypatch.setattr("service.search.stored_index.read_vectors", reading)
    assert shop.search(1) == [("va", 1.0)]
    assert read == ["va"]


def test_search_does_not_wait_forever_for_another(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither for a thread of its process that reads new vectors, nor for another process."""
    shop.index("a", 1)
    loading, go_on = threading.Event(), threading.Event()

    def slow(path: Path) -> VideoVectors:
        loading.set()
        go_on.wait(5)
        return read_vectors(path)

    monkeypatch.setattr("service.search.stored_index.read_vectors", slow)
    holder = threading.Thread(target=shop.search, args=(1,))
    holder.start()
    loading.wait(5)
    with pytest.raises(Overloaded, match="busy"):
        shop.search(1)
    shop.index_cache, first = shop.another_process(), shop.index_cache
    with pytest.raises(Overloaded, match="busy"):
        shop.search(1)
    go_on.set()
    holder.join()
    shop.index_cache = first
    assert shop.search(1) == [("va", 1.0)]


def test_searches_do_not_wait_for_each_other(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan holds no lock: as many run at a time as there are threads."""
    shop.index("a", 1)
    shop.search(1)
    together = threading.Barrier(3, timeout=5)
    scan = kernels.scan

    def meeting(*arguments: object) -> None:
        together.wait()
        scan(*arguments)

    monkeypatch.setattr(kernels, "scan", meeting)
    with ThreadPoolExecutor(3) as pool:
        found = list(pool.map(shop.search, [1, 1, 1]))
    assert found == [[("va", 1.0)]] * 3


def vector_reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the videos whose vector files are read from now on."""
    read: list[str] = []

    def reading(path: Path) -> VideoVectors:
        read.append(path.parent.name)
        return read_vectors(path)

    monkeypatch.setattr("service.search.stored_index.read_vectors", reading)
    return read


def test_processes_share_what_one_of_them_has_read(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, name in enumerate("abc"):
        shop.index(name, number)
    before = shop.search(1)
    read = vector_reads(monkeypatch)
    shop.index_cache = shop.another_process()
    assert shop.search(1) == before
    assert read == []
    shop.index("d", 4)
    other = shop.another_process()
    assert shop.search(4)[0][0] == "vd"
    shop.index_cache = other
    assert shop.search(4)[0][0] == "vd"
    assert read == ["vd"]


def test_what_is_deleted_stays_deleted_in_another_process(shop: Shop) -> None:
    for number, name in enumerate("abcd"):
        shop.index(name, number)
    shop.search(1)
    shop.catalogue.videos.delete("vb")
    shop.search(1)
    shop.index_cache = shop.another_process()
    assert {video_id for video_id, _ in shop.search(1)} == {"va", "vc", "vd"}


def test_most_of_the_library_may_be_deleted(shop: Shop) -> None:
    """What is left of a segment is written to a new one, though nothing is added."""
    for number in range(8):
        shop.index(f"{number}", number)
    shop.search(1)
    for number in range(7):
        shop.catalogue.videos.delete(f"v{number}")
        expected = {f"v{n}" for n in range(number + 1, 8)}
        assert {video_id for video_id, _ in shop.search(7)} == expected
    shop.index_cache = shop.another_process()
    assert shop.search(7) == [("v7", 1.0)]
    shop.catalogue.videos.delete("v7")
    assert shop.search(7) == []


@pytest.mark.parametrize("damage", ["state", "missing", "short", "format"])
def test_a_damaged_index_is_built_again(shop: Shop, damage: str) -> None:
    shop.index("a", 1)
    shop.index("b", 2)
    before = shop.search(1)
    (state,) = shop.folders.index.glob("*/index.json")
    codes = next(state.parent.glob("*/codes.npy"))
    if damage == "state":
        state.write_bytes(b"half of")
    elif damage == "missing":
        codes.unlink()
    elif damage == "short":
        codes.write_bytes(codes.read_bytes()[:100])
    else:
        state.write_text(state.read_text().replace('"format":1', '"format":0'))
    shop.index_cache = shop.another_process()
    assert shop.search(1) == before
    assert len(list(state.parent.glob("*/codes.npy"))) == 1


@pytest.mark.parametrize("name", ["codes", "embeddings"])
def test_a_flipped_bit_is_found_and_the_index_built_again(shop: Shop, name: str) -> None:
    """What a scan reads is checked when it is mapped, embeddings by the canary, bit by bit."""
    shop.index("a", 1)
    shop.index("b", 2)
    before = shop.search(1)
    (path,) = shop.folders.index.glob(f"*/*/{name}.npy")
    shop.index_cache.verify_next(shop.manifest, shop.spec)
    assert path.exists()
    content = bytearray(path.read_bytes())
    content[-1] ^= 64
    path.write_bytes(content)
    shop.index_cache = shop.another_process()
    shop.index_cache.verify_next(shop.manifest, shop.spec)
    assert shop.search(1) == before
    assert not path.exists()


def test_an_index_follows_a_catalogue_that_went_back(shop: Shop) -> None:
    """A backup of the catalogue is restored: its change numbers are lower, or come twice."""
    shop.index("a", 1)
    shop.catalogue.close()
    backup = shop.folders.catalogue.read_bytes()
    shop.catalogue = Catalogue(shop.folders.catalogue)
    shop.index_cache = shop.another_process()
    shop.index("b", 2)
    assert len(shop.search(1)) == 2
    shop.catalogue.close()
    for leftover in shop.folders.root.glob("catalogue.sqlite3*"):
        leftover.unlink()
    shop.folders.catalogue.write_bytes(backup)
    shop.catalogue = Catalogue(shop.folders.catalogue)
    shop.index("c", 3)
    shop.index_cache = shop.another_process()
    assert {video_id for video_id, _ in shop.search(1)} == {"va", "vc"}


def test_a_temporary_error_is_tried_again(shop: Shop) -> None:
    """A file that could not be read is read at the next change, or by the next process."""
    shop.index("a", 1)
    shop.index("b", 2)
    path = shop.media.vectors("vb/2.npz")
    hidden = path.rename(path.with_suffix(".away"))
    assert [video_id for video_id, _ in shop.search(1)] == ["va"]
    hidden.rename(path)
    shop.index("c", 3)
    assert {video_id for video_id, _ in shop.search(1)} == {"va", "vb", "vc"}
    path.rename(hidden)
    shop.catalogue.videos.delete("va")
    assert {video_id for video_id, _ in shop.search(1)} == {"vb", "vc"}


def test_filters_follow_the_catalogue(shop: Shop) -> None:
    chosen = Filter.model_validate({"title": {"eq": "b"}})
    for number, name in enumerate("ab"):
        shop.index(name, number)

    def found() -> tuple[str, ...]:
        manifest, query = shop.manifest, shop.vector(1)
        return shop.index_cache.search(manifest, shop.spec, query, 9, chosen).recall.ids

    assert found() == found() == ("vb",)
    shop.index("c", 3)
    assert found() == ("vb",)
    shop.catalogue.videos.delete("vb")
    assert found() == ()
    shop.index("b", 4)
    assert found() == ("vb",)
