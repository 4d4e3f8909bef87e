"""The catalogue: what happens together, who owns a job, and what a searcher is told."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from qasir.errors import InvalidConfig, NotFound
from service.catalogue import schema
from service.catalogue.catalogue import Catalogue
from service.catalogue.changes import RELOAD_ABOVE
from service.catalogue.db import Database
from service.catalogue.jobs import JOB_STATES, JobError, Progress
from service.catalogue.videos import Details
from tests.support.catalogue import INFO, OTHER, SPEC, claimed, vectors, video


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalogue(tmp_path: Path, clock: Clock) -> Iterator[Catalogue]:
    opened = Catalogue(tmp_path / "catalogue.sqlite3", clock)
    yield opened
    opened.close()


def test_upload_becomes_a_queued_job(catalogue: Catalogue) -> None:
    accepted = catalogue.accept(video())
    assert accepted.is_new
    assert accepted.video == catalogue.video("va")
    assert (accepted.job.state, accepted.job.video_id) == ("queued", "va")
    assert catalogue.job(accepted.job.id) == accepted.job


def test_same_bytes_keep_their_id_and_job(catalogue: Catalogue) -> None:
    first = catalogue.accept(video())
    again = catalogue.accept(replace(video(), title="another title"))
    assert not again.is_new
    assert (again.video.title, again.job.id) == ("a", first.job.id)
    assert not again.is_updated


def test_same_bytes_take_on_what_is_said_explicitly(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.commit(mine, INFO, [vectors()])
    seen = catalogue.change_number()
    again = catalogue.accept(video(), Details("new title", {"k": [2]}))
    assert (again.is_new, again.is_updated, again.job.id) == (False, True, mine.job.id)
    assert (again.video.title, again.video.metadata) == ("new title", {"k": [2]})
    # A searcher that has the old title is told.
    changed = catalogue.changes(SPEC, seen)
    assert changed.videos["va"].title == "new title"
    assert changed.relevant > seen
    same = catalogue.accept(video(), Details(title="new title"))
    assert (same.is_updated, same.video.metadata) == (False, {"k": [2]})
    assert catalogue.change_number() == changed.number


def test_a_failed_video_sent_again_takes_on_its_new_title(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.fail(mine, JobError("no_frames", "nothing decodes", retryable=False))
    again = catalogue.accept(video(), Details(title="new"))
    assert (again.is_updated, again.video.title, again.video.state) == (True, "new", "queued")


def test_failed_video_is_tried_again_when_sent_again(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.fail(mine, JobError("no_frames", "nothing decodes", retryable=False))
    again = catalogue.accept(video())
    assert (again.is_new, again.video.state, again.job.state) == (False, "queued", "queued")
    assert again.job.id != mine.job.id
    assert catalogue.newest_job("va") == again.job


def test_jobs_are_claimed_in_order_and_once(catalogue: Catalogue) -> None:
    order = [catalogue.accept(video(name)).job.id for name in "abc"]
    claims = [catalogue.claim("me") for _ in range(4)]
    assert [claim and claim.job.id for claim in claims] == [*order, None]
    assert catalogue.video("va").state == "running"


def test_concurrent_claims_never_share_a_job(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite3"
    shops = [Catalogue(path) for _ in range(4)]
    for number in range(20):
        shops[0].accept(video(f"{number:02}"))
    barrier = threading.Barrier(4)

    def claim_all(shop: Catalogue) -> list[str]:
        barrier.wait()
        claims = iter(lambda: shop.claim(f"owner {id(shop)}"), None)
        return [claim.job.id for claim in claims if claim]

    with ThreadPoolExecutor(4) as threads:
        taken = [job for jobs in threads.map(claim_all, shops) for job in jobs]
    for shop in shops:
        shop.close()
    assert len(taken) == len(set(taken)) == 20


def test_released_job_rests_and_keeps_its_attempts(catalogue: Catalogue, clock: Clock) -> None:
    mine = claimed(catalogue)
    assert mine.job.attempts == 1
    assert catalogue.release(mine, delay=5)
    assert catalogue.claim("me") is None
    clock.now += 5
    again = catalogue.claim("me")
    assert again is not None
    assert again.job.attempts == 1


def test_abandoned_job_waits_again_and_its_attempt_counts(catalogue: Catalogue) -> None:
    dead = claimed(catalogue, owner="dead")
    assert catalogue.requeue_abandoned("me") == [dead.job.id]
    again = catalogue.claim("me")
    assert again is not None
    assert (again.job.id, again.job.attempts) == (dead.job.id, 2)
    assert catalogue.requeue_abandoned("me") == []


def test_who_lost_a_job_cannot_write_to_it(catalogue: Catalogue) -> None:
    dead = claimed(catalogue, owner="dead")
    catalogue.requeue_abandoned("me")
    assert not catalogue.heartbeat(dead, Progress("encode", 0.5, None))
    assert not catalogue.release(dead, 0)
    assert not catalogue.fail(dead, JobError("internal", "late", retryable=False))
    assert not catalogue.commit(dead, INFO, [vectors()])
    assert catalogue.job(dead.job.id).state == "queued"
    assert catalogue.vector_files("va") == []


def test_heartbeat_shows_how_far_the_job_is(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    assert catalogue.heartbeat(mine, Progress("encode", 0.5, 3.0))
    job = catalogue.job(mine.job.id)
    assert (job.state, job.stage, job.progress, job.eta_seconds) == ("running", "encode", 0.5, 3.0)


def test_commit_makes_everything_so_at_once(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    before = catalogue.change_number()
    assert catalogue.commit(mine, INFO, [vectors()])
    job, found = catalogue.job(mine.job.id), catalogue.video("va")
    assert (job.state, job.progress, job.error) == ("ready", 1.0, None)
    assert (found.state, found.duration, found.codec) == ("ready", 12.5, "h264")
    assert catalogue.vector_files("va") == [vectors()]
    assert catalogue.change_number() > before


def test_failure_is_kept_word_for_word(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    error = JobError("no_frames", "not one frame decodes", retryable=False)
    assert catalogue.fail(mine, error)
    assert catalogue.job(mine.job.id).error == error
    assert catalogue.video("va").state == "failed"


def test_delete_takes_rows_and_tells_searchers(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.commit(mine, INFO, [vectors()])
    seen = catalogue.change_number()
    catalogue.delete("va")
    assert catalogue.changes(SPEC, seen).gone == {"va"}
    assert catalogue.all_vector_files() == []
    for gone in (lambda: catalogue.video("va"), lambda: catalogue.job(mine.job.id)):
        with pytest.raises(NotFound):
            gone()
    with pytest.raises(NotFound, match="deleted already"):
        catalogue.delete("va")


def test_delete_takes_the_job_from_its_worker(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.delete("va")
    assert not catalogue.heartbeat(mine, Progress("encode", 0.5, None))
    assert not catalogue.commit(mine, INFO, [vectors()])
    assert catalogue.all_vector_files() == []


def test_changes_are_what_a_searcher_missed(catalogue: Catalogue) -> None:
    first = claimed(catalogue, "a")
    catalogue.commit(first, INFO, [vectors()])
    everything = catalogue.changes(SPEC, None)
    assert (everything.files, everything.complete) == ([vectors()], True)
    second = claimed(catalogue, "b")
    catalogue.commit(second, INFO, [vectors("vb", "vb/1.npz")])
    news = catalogue.changes(SPEC, everything.number)
    assert (news.files, news.gone, news.complete) == (
        [vectors("vb", "vb/1.npz")],
        frozenset(),
        False,
    )
    assert catalogue.changes(SPEC, news.number).files == []


def test_other_specs_are_not_told(catalogue: Catalogue) -> None:
    catalogue.commit(claimed(catalogue), INFO, [vectors()])
    other = SPEC.model_copy(update={"fps": 2.0})
    assert catalogue.changes(other, None).files == []


def test_many_changes_mean_reading_all(catalogue: Catalogue, tmp_path: Path) -> None:
    catalogue.commit(claimed(catalogue), INFO, [vectors()])
    database = Database(tmp_path / "catalogue.sqlite3")
    rows = [{"kind": "deleted", "video_id": f"v{n}"} for n in range(RELOAD_ABOVE + 1)]
    with database.writing() as connection:
        connection.execute(schema.changes.insert(), rows)
    database.close()
    news = catalogue.changes(SPEC, 0)
    assert (news.complete, news.files) == (True, [vectors()])


def test_pages_are_newest_first(catalogue: Catalogue) -> None:
    for number, name in enumerate("abc"):
        catalogue.accept(video(name, created=float(number)))
    page, total = catalogue.videos(offset=1, limit=1)
    assert ([found.id for found in page], total) == (["vb"], 3)
    assert [job.video_id for job in catalogue.jobs(0, 2)] == ["vc", "vb"]
    assert catalogue.jobs(0, 9, "running") == []


def test_pages_follow_one_another(catalogue: Catalogue) -> None:
    for name in "abcde":
        # The same time, so that ids decide.
        catalogue.accept(video(name, created=float(name > "b")))
    first = catalogue.list_videos(2)
    assert [row.id for row in first.rows] == ["ve", "vd"]
    catalogue.delete("vd")
    catalogue.accept(video("f", created=2.0))
    second = catalogue.list_videos(2, first.next_key)
    assert [row.id for row in second.rows] == ["vc", "vb"]
    last = catalogue.list_videos(2, second.next_key)
    assert ([row.id for row in last.rows], last.next_key) == (["va"], None)
    assert catalogue.count_videos() == 5
    assert catalogue.list_videos(5).next_key is None


def test_pages_of_jobs_follow_one_another(catalogue: Catalogue) -> None:
    for name in "abcd":
        catalogue.accept(video(name))
    catalogue.claim("me")
    first = catalogue.list_jobs(1, state="queued")
    assert [row.video_id for row in first.rows] == ["vd"]
    catalogue.accept(video("e"))
    catalogue.delete("vd")
    second = catalogue.list_jobs(2, first.next_key, "queued")
    assert ([row.video_id for row in second.rows], second.next_key) == (["vc", "vb"], None)
    assert [row.video_id for row in catalogue.list_jobs(9).rows] == ["ve", "vc", "vb", "va"]


def test_totals_count_every_state(catalogue: Catalogue) -> None:
    catalogue.commit(claimed(catalogue), INFO, [vectors()])
    catalogue.accept(video("b"))
    totals = catalogue.totals([SPEC])
    assert totals.jobs == {**dict.fromkeys(JOB_STATES, 0), "ready": 1, "queued": 1}
    assert (totals.searchable_videos, totals.super_images) == (1, {2: 4})
    assert totals.change_number == catalogue.change_number() == 1
    assert catalogue.totals([OTHER]).searchable_videos == 0


def test_totals_tell_how_long_the_oldest_job_waits(tmp_path: Path) -> None:
    now = 100.0
    catalogue = Catalogue(tmp_path / "clocked.sqlite3", clock=lambda: now)
    assert catalogue.totals([]).oldest_queued_seconds == 0
    for name, created in (("a", 40.0), ("b", 70.0)):
        now = created
        catalogue.accept(video(name))
    now = 100.0
    assert catalogue.totals([]).oldest_queued_seconds == 60
    catalogue.claim("worker")
    assert catalogue.totals([]).oldest_queued_seconds == 30
    catalogue.close()


def test_foreign_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite3"
    database = Database(path)
    with database.writing() as connection:
        connection.execute(text("PRAGMA user_version = 99"))
    database.close()
    with pytest.raises(InvalidConfig, match="version 99"):
        Catalogue(path)


def test_catalogue_is_created_once_by_many(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as threads:
        opened = list(threads.map(lambda _: Catalogue(tmp_path / "new.sqlite3"), range(8)))
    assert [shop.change_number() for shop in opened] == [0] * 8
    for shop in opened:
        shop.close()
