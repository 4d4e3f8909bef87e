"""What generations lack follows from the vector files; attempts and errors are remembered."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from qasir.errors import NotFound
from qasir.manifest import EmbeddingSpec
from qasir.types import VideoInfo
from service.catalogue.backfills import Backfills, Coverage, Target
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import JobError
from service.catalogue.queue import REST_SECONDS, Claim, Progress
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


def claimed(catalogue: Catalogue, specs: Sequence[EmbeddingSpec]) -> Claim | None:
    """The next backfill for these specs, in the hands of a worker."""
    claim = catalogue.queue.claim("me", [Target(2, tuple(specs))], backfill_first=True)
    if claim is not None and claim.target is None:
        catalogue.queue.release(claim, 0)
        return None
    return claim


def next_missing(catalogue: Catalogue, specs: Sequence[EmbeddingSpec]) -> str | None:
    """Which video a worker would take."""
    claim = claimed(catalogue, specs)
    if claim is None:
        return None
    catalogue.queue.release(claim, 0)
    return claim.job.video_id


def encode(catalogue: Catalogue, *files: VectorFile) -> bool:
    """Commit the next backfill, which must be of these files' video."""
    claim = claimed(catalogue, [file.spec for file in files])
    assert claim is not None
    assert {file.video_id for file in files} == {claim.job.video_id}
    return catalogue.queue.commit(claim, INFO, files)


def test_the_oldest_ready_video_without_all_vectors_is_next(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    assert backfills.coverage([OLD]) == Coverage(total=3, done=3, failed=0)
    assert backfills.coverage(NEW) == Coverage(total=3, done=0, failed=0)
    assert next_missing(catalogue, [OLD]) is None
    assert next_missing(catalogue, NEW) == "va"
    assert encode(catalogue, file("va", NEW[0]))
    assert next_missing(catalogue, NEW) == "va"
    assert encode(catalogue, file("va", NEW[1]))
    assert next_missing(catalogue, NEW) == "vb"
    assert backfills.coverage(NEW) == Coverage(total=3, done=1, failed=0)
    catalogue.videos.delete("vb")
    assert next_missing(catalogue, NEW) == "vc"
    assert backfills.coverage(NEW) == Coverage(total=2, done=1, failed=0)


def test_only_what_a_video_lacks_is_encoded(catalogue: Catalogue, backfills: Backfills) -> None:
    assert encode(catalogue, file("va", NEW[0]))
    claim = claimed(catalogue, NEW)
    assert claim is not None
    assert (claim.job.kind, claim.job.video_id) == ("backfill", "va")
    assert claim.target == Target(2, (NEW[1],))


def test_another_resolution_is_another_index(catalogue: Catalogue, backfills: Backfills) -> None:
    """Two model sets of one fingerprint may differ in R; their vectors are kept apart."""
    assert encode(catalogue, file("va", NEW[1]), file("va", LARGER))
    assert len(catalogue.vector_files.of_video("va")) == 3
    assert backfills.coverage([LARGER]).done == 1
    (held,) = catalogue.changes.since(LARGER, None).files
    assert held.spec == LARGER


def test_a_failure_is_left_alone_until_somebody_asks(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    claim = claimed(catalogue, NEW)
    assert claim is not None
    assert catalogue.queue.fail(claim, DAMAGED)
    assert backfills.coverage(NEW) == Coverage(total=3, done=0, failed=1)
    assert backfills.coverage(NEW).waiting == 2
    assert backfills.error(NEW) == "video va: no_frames: nothing decodes"
    assert next_missing(catalogue, [OLD]) is None
    assert next_missing(catalogue, NEW) == "vb"
    assert encode(catalogue, *(file("vb", spec) for spec in NEW))
    backfills.retry(NEW)
    assert next_missing(catalogue, NEW) == "va"
    assert backfills.error(NEW) is None


def test_attempts_count_before_the_try_and_outages_do_not(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    for attempt in range(1, 4):
        claim = claimed(catalogue, NEW)
        assert claim is not None
        assert (claim.job.video_id, claim.job.attempts) == ("va", attempt)
        # As a worker that was killed leaves it.
        assert catalogue.queue.requeue_abandoned("another") == [claim.job.id]
    claim = claimed(catalogue, NEW)
    assert claim is not None
    message = "the worker died 3 times on this video; re-encode it"
    catalogue.queue.fail(claim, JobError("decoder_crashed", message, retryable=False))
    assert "the worker died 3 times" in str(backfills.error(NEW))
    backfills.retry(NEW)
    for _ in range(5):
        claim = claimed(catalogue, NEW)
        assert claim is not None
        assert (claim.job.video_id, claim.job.attempts) == ("va", 1)
        catalogue.queue.release(claim, 0)


def test_a_deleted_video_is_not_encoded(catalogue: Catalogue, backfills: Backfills) -> None:
    claim = claimed(catalogue, NEW)
    assert claim is not None
    catalogue.videos.delete("va")
    assert not catalogue.queue.commit(claim, INFO, [file("va", NEW[0])])
    assert not catalogue.queue.heartbeat(claim, Progress("encode", 0.5, None))
    assert next_missing(catalogue, NEW) == "vb"
    assert {held.video_id for held in catalogue.vector_files.all()} == {"vb", "vc"}


def test_a_backfill_changes_only_the_answers_of_its_own_model(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    before = [catalogue.changes.since(spec, None) for spec in (OLD, *NEW)]
    assert encode(catalogue, file("va", NEW[0]))
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
    assert encode(catalogue, *(file("va", p) for p in (*NEW, LARGER)))
    gone = catalogue.vector_files.remove("new", keep=[LARGER])
    assert {one.spec for one in gone} == set(NEW)
    assert {one.spec for one in catalogue.vector_files.of_video("va")} == {OLD, LARGER}


def test_a_retired_models_backfill_is_lost_to_its_worker(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    claim = claimed(catalogue, NEW)
    assert claim is not None
    catalogue.vector_files.remove("new", keep=[])
    assert not catalogue.queue.commit(claim, INFO, [file("va", spec) for spec in NEW])
    assert {held.spec for held in catalogue.vector_files.all()} == {OLD}


def test_what_a_search_requested_comes_before_every_target(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    backfills.request(["vc", "gone", "vb"], LARGER, limit=9)
    backfills.request(["vc"], LARGER, limit=9)
    assert backfills.requested(LARGER) == 2
    targets = [Target(2, tuple(NEW)), Target(3, (LARGER,))]
    order = []
    for _ in range(3):
        claim = catalogue.queue.claim("me", targets, backfill_first=True)
        assert claim is not None
        assert claim.target is not None
        order.append((claim.job.video_id, claim.target.version))
        files = [file(claim.job.video_id, spec) for spec in claim.target.specs]
        assert catalogue.queue.commit(claim, INFO, files)
    assert order == [("vc", 3), ("vb", 3), ("va", 2)]
    assert backfills.requested(LARGER) == 0


def test_a_model_that_is_not_served_keeps_no_other_waiting(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    backfills.request(["vb"], LARGER, limit=9)
    targets = [Target(3, (LARGER,)), Target(2, tuple(NEW))]
    claim = catalogue.queue.claim(
        "me", targets, is_served=lambda version: version == 2, backfill_first=True
    )
    assert claim is not None
    assert claim.target is not None
    assert (claim.job.video_id, claim.target.version) == ("va", 2)


def test_clients_see_ingests_alone(catalogue: Catalogue, backfills: Backfills) -> None:
    before = catalogue.totals([OLD]).jobs
    claim = claimed(catalogue, NEW)
    assert claim is not None
    backfills.request(["vb"], LARGER, limit=9)
    assert all(job.kind == "ingest" for job in catalogue.jobs.page(99).rows)
    assert catalogue.jobs.newest_of("va").kind == "ingest"
    with pytest.raises(NotFound):
        catalogue.jobs.get(claim.job.id)
    assert catalogue.totals([OLD]).jobs == before
    assert catalogue.jobs.queued_count() == 1


def test_an_ingest_comes_first_unless_it_is_a_backfills_turn(
    catalogue: Catalogue, backfills: Backfills
) -> None:
    targets = [Target(2, tuple(NEW))]
    kinds = []
    for backfill_first in (False, True, True):
        claim = catalogue.queue.claim("me", targets, backfill_first=backfill_first)
        assert claim is not None
        kinds.append(claim.job.kind)
        if claim.job.kind == "ingest":
            catalogue.queue.release(claim, 0)
    assert kinds == ["ingest", "backfill", "backfill"]


def test_coverage_is_searched_again_after_a_rest(tmp_path: Path) -> None:
    now = 100.0
    opened = Catalogue(tmp_path / "clocked.sqlite3", clock=lambda: now)
    targets = [Target(2, tuple(NEW))]
    opened.videos.accept(Video("va", "a", {}, "a", 1, 0, 0, 0, "", "", "queued", 1.0))
    ingest = opened.queue.claim("me")
    assert ingest is not None
    assert opened.queue.commit(ingest, INFO, [file("va", OLD)])
    backfill = opened.queue.claim("me", targets)
    assert backfill is not None
    opened.queue.fail(backfill, DAMAGED)
    assert opened.queue.claim("me", targets) is None
    opened.backfills.retry(NEW)
    # Nothing says so, and every claim would else look at every video.
    assert opened.queue.claim("me", targets) is None
    now += REST_SECONDS
    assert opened.queue.claim("me", targets) is not None
    opened.close()
