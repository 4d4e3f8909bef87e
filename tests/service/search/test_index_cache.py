"""The index of a process: as of the newest change, whatever the files are like."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from qasir.config import IndexUnit
from qasir.errors import Overloaded
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
        self.index_cache = IndexCache(self.catalogue, self.media, patience_seconds=0.1)
        self.manifest = manifest
        self.spec = manifest.spec(2)

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
        ranked = self.index_cache.search(
            manifest, spec or self.spec, self.vector(seed), count=10
        ).ranked
        scores = [round(float(score), 2) for score in ranked.scores]
        return list(zip(ranked.ids, scores, strict=True))


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
    recall = shop.index_cache.search(shop.manifest, shop.spec, shop.vector(1), count=1)
    assert (recall.video_count, recall.seconds, list(recall.videos)) == (2, 8.0, ["va"])
    assert recall.change_number == shop.catalogue.changes.number()


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

    monkeypatch.setattr("service.search.index_cache.read_vectors", reading)
    assert shop.search(1) == [("va", 1.0)]
    assert read == ["va"]


def test_search_does_not_wait_forever_for_another(shop: Shop) -> None:
    shop.index("a", 1)
    loading, go_on = threading.Event(), threading.Event()
    count = shop.catalogue.changes.number

    def slow() -> int:
        loading.set()
        go_on.wait(5)
        return count()

    shop.catalogue.changes.number = slow  # type: ignore[method-assign]  # holds the lock for the test
    holder = threading.Thread(target=shop.search, args=(1,))
    holder.start()
    loading.wait(5)
    with pytest.raises(Overloaded, match="busy"):
        shop.search(1)
    go_on.set()
    holder.join()
