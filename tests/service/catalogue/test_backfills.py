"""What generations lack follows from the vector files; attempts and errors are remembered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qasir.manifest import EmbeddingSpec
from qasir.types import VideoInfo
from service.catalogue.backfills import Backfills, Coverage
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import JobError
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video

OLD = EmbeddingSpec(fingerprint="old", grid_size=2, resolution=64, fps=1.0)
NEW = [EmbeddingSpec(fingerprint="new", grid_size=n, resolution=64, fps=1.0) for n in (1, 2)]
LARGER = NEW[1].model_copy(update={"resolution": 96})
INFO = VideoInfo(4.0, 64, 48, 10.0, "h264", "mov,mp4", 0)
DAMAGED = JobError("no_frames", "nothing decodes", retryable=False)


def file(video_id: str, spec: EmbeddingSpec) -> VectorFile:
    path = f"{video_id}/{spec.fingerprint}-{spec.grid_size}-{spec.resolution}.npz"
    return VectorFile(video_id, **dict(spec), path=path, frames=4, super_images=1, seconds=4.0)


@pytest.fixture
def catalogue(tmp_path: Path) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path / "catalogue.sqlite3")
    yield opened
    opened.close()


@pytest.fixture
def backfills(catalogue: Catalogue) -> Backfills:
    """A library of three videos, ready with the old model, and one that still waits."""
    for number, name in enumerate(("va", "vb", "vc", "vd")):
        video = Video(name, name, {}, name, 1, 0, 0, 0, "", "", "queued", float(number))
        catalogue.videos.accept(video)
        if name != "vd":
            mine = catalogue.queue.claim("me")
            assert mine is not None
            assert catalogue.queue.commit(mine, INFO, [file(name, OLD)])
    return catalogue.backfills


def test_the_oldest_ready_video_without_all_vectors_is_next(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    assert backfills.coverage([OLD]) == Coverage(total=3, done=3, failed=0)
    assert backfills.coverage(NEW) == Coverage(total=3, done=0, failed=0)
    assert backfills.next_missing([OLD]) is None
    assert backfills.next_missing(NEW) == "va"
    assert backfills.commit("va", [file("va", NEW[0])])
    assert backfills.next_missing(NEW) == "va"
    assert backfills.commit("va", [file("va", NEW[1])])
    assert backfills.next_missing(NEW) == "vb"
    assert backfills.coverage(NEW) == Coverage(total=3, done=1, failed=0)
    catalogue.videos.delete("vb")
    assert backfills.next_missing(NEW) == "vc"
    assert backfills.coverage(NEW) == Coverage(total=2, done=1, failed=0)


def test_another_resolution_is_another_index(catalogue: Catalogue, backfills: Backfills) -> None:
    """Two model sets of one fingerprint may differ in R; their vectors are kept apart."""
    assert backfills.commit("va", [file("va", NEW[1]), file("va", LARGER)])
    assert len(catalogue.vector_files.of_video("va")) == 3
    assert backfills.coverage([LARGER]).done == 1
    (held,) = catalogue.changes.since(LARGER, None).files
    assert held.spec == LARGER


def test_a_failure_is_left_alone_until_somebody_asks(backfills: Backfills) -> None:
    assert backfills.begin("va", NEW, attempts=3)
    backfills.fail("va", NEW, DAMAGED)
    assert backfills.next_missing(NEW) == "vb"
    assert backfills.coverage(NEW) == Coverage(total=3, done=0, failed=1)
    assert backfills.coverage(NEW).waiting == 2
    assert backfills.error(NEW) == "video va: no_frames: nothing decodes"
    assert backfills.next_missing([OLD]) is None
    backfills.retry(NEW)
    assert backfills.next_missing(NEW) == "va"
    assert backfills.error(NEW) is None


def test_a_video_that_kills_the_worker_is_given_up(backfills: Backfills) -> None:
    for _ in range(3):
        assert backfills.begin("va", NEW, attempts=3)
    assert not backfills.begin("va", NEW, attempts=3)
    assert "the worker died 3 times" in str(backfills.error(NEW))
    backfills.retry(NEW)
    for _ in range(5):
        assert backfills.begin("va", NEW, attempts=3)
        backfills.put_off("va", NEW)


def test_a_deleted_video_is_not_built(catalogue: Catalogue, backfills: Backfills) -> None:
    assert backfills.begin("va", NEW, attempts=3)
    catalogue.videos.delete("va")
    assert not backfills.commit("va", [file("va", NEW[0])])
    assert not backfills.begin("va", NEW, attempts=3)
    assert {held.video_id for held in catalogue.vector_files.all()} == {"vb", "vc"}


def test_a_build_changes_only_the_answers_of_its_own_model(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    before = [catalogue.changes.since(spec, None) for spec in (OLD, *NEW)]
    assert backfills.commit("va", [file("va", NEW[0])])
    after = [catalogue.changes.since(spec, None) for spec in (OLD, *NEW)]
    assert after[0].number > before[0].number
    moved = [now.relevant > then.relevant for now, then in zip(after, before, strict=True)]
    assert moved == [False, True, False]
    # Whoever follows is told of it, and drops nothing.
    followed = catalogue.changes.since(OLD, before[0].number)
    assert followed.gone == frozenset()
    assert [held.video_id for held in followed.files] == ["va"]


def test_retiring_spares_what_another_generation_needs(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    backfills.commit("va", [file("va", p) for p in (*NEW, LARGER)])
    gone = catalogue.vector_files.remove("new", keep=[LARGER])
    assert {one.spec for one in gone} == set(NEW)
    assert {one.spec for one in catalogue.vector_files.of_video("va")} == {OLD, LARGER}
