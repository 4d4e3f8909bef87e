"""What generations lack follows from the vector files; attempts and errors are remembered."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from qasir.manifest import EmbeddingSpec
from qasir.types import VideoInfo
from service.catalogue.catalogue import Catalogue
from service.catalogue.encodings import Coverage, Encodings
from service.catalogue.jobs import JobError
from service.catalogue.videos import VectorFile, Video

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
def encodings(catalogue: Catalogue) -> Encodings:
    """A library of three videos, ready with the old model, and one that still waits."""
    for number, name in enumerate(("va", "vb", "vc", "vd")):
        video = Video(name, name, {}, name, 1, 0, 0, 0, "", "", "queued", float(number))
        catalogue.accept(video)
        if name != "vd":
            mine = catalogue.claim("me")
            assert mine is not None
            assert catalogue.commit(mine, INFO, [file(name, OLD)])
    return catalogue.encodings


def test_the_oldest_ready_video_without_all_vectors_is_next(
    catalogue: Catalogue, encodings: Encodings
) -> None:
    assert encodings.coverage([OLD]) == Coverage(total=3, done=3, failed=0)
    assert encodings.coverage(NEW) == Coverage(total=3, done=0, failed=0)
    assert encodings.next_missing([OLD]) is None
    assert encodings.next_missing(NEW) == "va"
    assert encodings.commit("va", [file("va", NEW[0])])
    assert encodings.next_missing(NEW) == "va"
    assert encodings.commit("va", [file("va", NEW[1])])
    assert encodings.next_missing(NEW) == "vb"
    assert encodings.coverage(NEW) == Coverage(total=3, done=1, failed=0)
    catalogue.delete("vb")
    assert encodings.next_missing(NEW) == "vc"
    assert encodings.coverage(NEW) == Coverage(total=2, done=1, failed=0)


def test_another_resolution_is_another_index(catalogue: Catalogue, encodings: Encodings) -> None:
    """Two model sets of one fingerprint may differ in R; their vectors are kept apart."""
    assert encodings.commit("va", [file("va", NEW[1]), file("va", LARGER)])
    assert len(catalogue.vector_files("va")) == 3
    assert encodings.coverage([LARGER]).done == 1
    (held,) = catalogue.changes(LARGER, None).files
    assert held.spec == LARGER


def test_a_failure_is_left_alone_until_somebody_asks(encodings: Encodings) -> None:
    assert encodings.begin("va", NEW, attempts=3)
    encodings.fail("va", NEW, DAMAGED)
    assert encodings.next_missing(NEW) == "vb"
    assert encodings.coverage(NEW) == Coverage(total=3, done=0, failed=1)
    assert encodings.coverage(NEW).waiting == 2
    assert encodings.error(NEW) == "video va: no_frames: nothing decodes"
    assert encodings.next_missing([OLD]) is None
    encodings.retry(NEW)
    assert encodings.next_missing(NEW) == "va"
    assert encodings.error(NEW) is None


def test_a_video_that_kills_the_worker_is_given_up(encodings: Encodings) -> None:
    for _ in range(3):
        assert encodings.begin("va", NEW, attempts=3)
    assert not encodings.begin("va", NEW, attempts=3)
    assert "the worker died 3 times" in str(encodings.error(NEW))
    encodings.retry(NEW)
    for _ in range(5):
        assert encodings.begin("va", NEW, attempts=3)
        encodings.put_off("va", NEW)


def test_a_deleted_video_is_not_built(catalogue: Catalogue, encodings: Encodings) -> None:
    assert encodings.begin("va", NEW, attempts=3)
    catalogue.delete("va")
    assert not encodings.commit("va", [file("va", NEW[0])])
    assert not encodings.begin("va", NEW, attempts=3)
    assert {held.video_id for held in catalogue.all_vector_files()} == {"vb", "vc"}


def test_a_build_changes_only_the_answers_of_its_own_model(
    catalogue: Catalogue, encodings: Encodings
) -> None:
    before = [catalogue.changes(spec, None) for spec in (OLD, *NEW)]
    assert encodings.commit("va", [file("va", NEW[0])])
    after = [catalogue.changes(spec, None) for spec in (OLD, *NEW)]
    assert after[0].number > before[0].number
    moved = [now.relevant > then.relevant for now, then in zip(after, before, strict=True)]
    assert moved == [False, True, False]
    # Whoever follows is told of it, and drops nothing.
    followed = catalogue.changes(OLD, before[0].number)
    assert followed.gone == frozenset()
    assert [held.video_id for held in followed.files] == ["va"]


def test_retiring_spares_what_another_generation_needs(
    catalogue: Catalogue, encodings: Encodings
) -> None:
    encodings.commit("va", [file("va", p) for p in (*NEW, LARGER)])
    gone = encodings.remove("new", keep=[LARGER])
    assert {one.spec for one in gone} == set(NEW)
    assert {one.spec for one in catalogue.vector_files("va")} == {OLD, LARGER}
