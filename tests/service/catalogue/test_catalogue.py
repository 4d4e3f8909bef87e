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
from service.catalogue.catalogue import RELOAD_ABOVE, Catalogue
from service.catalogue.db import Database
from service.catalogue.jobs import JOB_STATES, JobError
from service.catalogue.queue import Progress
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
    accepted = catalogue.videos.accept(video())
    assert accepted.is_new
    assert accepted.video == catalogue.videos.get("va")
    assert (accepted.job.state, accepted.job.video_id) == ("queued", "va")
    assert catalogue.jobs.get(accepted.job.id) == accepted.job


def test_same_bytes_keep_their_id_and_job(catalogue: Catalogue) -> None:
    first = catalogue.videos.accept(video())
    again = catalogue.videos.accept(replace(video(), title="another title"))
    assert not again.is_new
    assert (again.video.title, again.job.id) == ("a", first.job.id)
    assert not again.is_updated


def test_same_bytes_take_on_what_is_said_explicitly(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.queue.commit(mine, INFO, [vectors()])
    seen = catalogue.changes.number()
    again = catalogue.videos.accept(video(), Details("new title", {"k": [2]}))
    assert (again.is_new, again.is_updated, again.job.id) == (False, True, mine.job.id)
    assert (again.video.title, again.video.metadata) == ("new title", {"k": [2]})
    # A searcher that has the old title is told.
    changed = catalogue.changes.since(SPEC, seen)
    assert changed.videos["va"].title == "new title"
    assert changed.relevant > seen
    same = catalogue.videos.accept(video(), Details(title="new title"))
    assert (same.is_updated, same.video.metadata) == (False, {"k": [2]})
    assert catalogue.changes.number() == changed.number


def test_a_failed_video_sent_again_takes_on_its_new_title(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.queue.fail(mine, JobError("no_frames", "nothing decodes", retryable=False))
    again = catalogue.videos.accept(video(), Details(title="new"))
    assert (again.is_updated, again.video.title, again.video.state) == (True, "new", "queued")


def test_failed_video_is_tried_again_when_sent_again(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.queue.fail(mine, JobError("no_frames", "nothing decodes", retryable=False))
    again = catalogue.videos.accept(video())
    assert (again.is_new, again.video.state, again.job.state) == (False, "queued", "queued")
    assert again.job.id != mine.job.id
    assert catalogue.jobs.newest_of("va") == again.job


def test_jobs_are_claimed_in_order_and_once(catalogue: Catalogue) -> None:
    order = [catalogue.videos.accept(video(name)).job.id for name in "abc"]
    claims = [catalogue.queue.claim("me") for _ in range(4)]
    assert [claim and claim.job.id for claim in claims] == [*order, None]
    assert catalogue.videos.get("va").state == "running"


def test_concurrent_claims_never_share_a_job(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.sqlite3"
    shops = [Catalogue(path) for _ in range(4)]
    for number in range(20):
        shops[0].videos.accept(video(f"{number:02}"))
    barrier = threading.Barrier(4)

    def claim_all(shop: Catalogue) -> list[str]:
        barrier.wait()
        claims = iter(lambda: shop.queue.claim(f"owner {id(shop)}"), None)
        return [claim.job.id for claim in claims if claim]

    with ThreadPoolExecutor(4) as threads:
        taken = [job for jobs in threads.map(claim_all, shops) for job in jobs]
    for shop in shops:
        shop.close()
    assert len(taken) == len(set(taken)) == 20


def test_released_job_rests_and_keeps_its_attempts(catalogue: Catalogue, clock: Clock) -> None:
    mine = claimed(catalogue)
    assert mine.job.attempts == 1
    assert catalogue.queue.release(mine, delay=5)
    assert catalogue.queue.claim("me") is None
    clock.now += 5
    again = catalogue.queue.claim("me")
    assert again is not None
    assert again.job.attempts == 1


def test_abandoned_job_waits_again_and_its_attempt_counts(catalogue: Catalogue) -> None:
    dead = claimed(catalogue, owner="dead")
    assert catalogue.queue.requeue_abandoned("me") == [dead.job.id]
    again = catalogue.queue.claim("me")
    assert again is not None
    assert (again.job.id, again.job.attempts) == (dead.job.id, 2)
    assert catalogue.queue.requeue_abandoned("me") == []


def test_who_lost_a_job_cannot_write_to_it(catalogue: Catalogue) -> None:
    dead = claimed(catalogue, owner="dead")
    catalogue.queue.requeue_abandoned("me")
    assert not catalogue.queue.heartbeat(dead, Progress("encode", 0.5, None))
    assert not catalogue.queue.release(dead, 0)
    assert not catalogue.queue.fail(dead, JobError("internal", "late", retryable=False))
    assert not catalogue.queue.commit(dead, INFO, [vectors()])
    assert catalogue.jobs.get(dead.job.id).state == "queued"
    assert catalogue.vector_files.of_video("va") == []


def test_heartbeat_shows_how_far_the_job_is(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    assert catalogue.queue.heartbeat(mine, Progress("encode", 0.5, 3.0))
    job = catalogue.jobs.get(mine.job.id)
    assert (job.state, job.stage, job.progress, job.eta_seconds) == ("running", "encode", 0.5, 3.0)


def test_commit_makes_everything_so_at_once(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    before = catalogue.changes.number()
    assert catalogue.queue.commit(mine, INFO, [vectors()])
    job, found = catalogue.jobs.get(mine.job.id), catalogue.videos.get("va")
    assert (job.state, job.progress, job.error) == ("ready", 1.0, None)
    assert (found.state, found.duration, found.codec) == ("ready", 12.5, "h264")
    assert catalogue.vector_files.of_video("va") == [vectors()]
    assert catalogue.changes.number() > before


def test_failure_is_kept_word_for_word(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    error = JobError("no_frames", "not one frame decodes", retryable=False)
    assert catalogue.queue.fail(mine, error)
    assert catalogue.jobs.get(mine.job.id).error == error
    assert catalogue.videos.get("va").state == "failed"


def test_delete_takes_rows_and_tells_searchers(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.queue.commit(mine, INFO, [vectors()])
    seen = catalogue.changes.number()
    catalogue.videos.delete("va")
    assert catalogue.changes.since(SPEC, seen).gone == {"va"}
    assert catalogue.vector_files.all() == []
    for gone in (lambda: catalogue.videos.get("va"), lambda: catalogue.jobs.get(mine.job.id)):
        with pytest.raises(NotFound):
            gone()
    with pytest.raises(NotFound, match="deleted already"):
        catalogue.videos.delete("va")


def test_delete_takes_the_job_from_its_worker(catalogue: Catalogue) -> None:
    mine = claimed(catalogue)
    catalogue.videos.delete("va")
    assert not catalogue.queue.heartbeat(mine, Progress("encode", 0.5, None))
    assert not catalogue.queue.commit(mine, INFO, [vectors()])
    assert catalogue.vector_files.all() == []


def test_changes_are_what_a_searcher_missed(catalogue: Catalogue) -> None:
    first = claimed(catalogue, "a")
    catalogue.queue.commit(first, INFO, [vectors()])
    everything = catalogue.changes.since(SPEC, None)
    assert (everything.files, everything.complete) == ([vectors()], True)
    second = claimed(catalogue, "b")
    catalogue.queue.commit(second, INFO, [vectors("vb", "vb/1.npz")])
    news = catalogue.changes.since(SPEC, everything.number)
    assert (news.files, news.gone, news.complete) == (
        [vectors("vb", "vb/1.npz")],
        frozenset(),
        False,
    )
    assert catalogue.changes.since(SPEC, news.number).files == []


def test_other_specs_are_not_told(catalogue: Catalogue) -> None:
    catalogue.queue.commit(claimed(catalogue), INFO, [vectors()])
    other = SPEC.model_copy(update={"fps": 2.0})
    assert catalogue.changes.since(other, None).files == []


def test_many_changes_mean_reading_all(catalogue: Catalogue, tmp_path: Path) -> None:
    catalogue.queue.commit(claimed(catalogue), INFO, [vectors()])
    database = Database(tmp_path / "catalogue.sqlite3")
    rows = [{"kind": "deleted", "video_id": f"v{n}"} for n in range(RELOAD_ABOVE + 1)]
    with database.writing() as connection:
        connection.execute(schema.changes.insert(), rows)
    database.close()
    news = catalogue.changes.since(SPEC, 0)
    assert (news.complete, news.files) == (True, [vectors()])


def test_pages_are_newest_first(catalogue: Catalogue) -> None:
    for number, name in enumerate("abc"):
        catalogue.videos.accept(video(name, created=float(number)))
    rows = catalogue.videos.page(limit=2).rows
    assert ([video.id for video in rows], catalogue.videos.count()) == (["vc", "vb"], 3)
    assert [job.video_id for job in catalogue.jobs.page(2).rows] == ["vc", "vb"]
    assert catalogue.jobs.page(9, state="running").rows == []


def test_pages_follow_one_another(catalogue: Catalogue) -> None:
    for name in "abcde":
        # The same time, so that ids decide.
        catalogue.videos.accept(video(name, created=float(name > "b")))
    first = catalogue.videos.page(2)
    assert [row.id for row in first.rows] == ["ve", "vd"]
    catalogue.videos.delete("vd")
    catalogue.videos.accept(video("f", created=2.0))
    second = catalogue.videos.page(2, first.next_key)
    assert [row.id for row in second.rows] == ["vc", "vb"]
    last = catalogue.videos.page(2, second.next_key)
    assert ([row.id for row in last.rows], last.next_key) == (["va"], None)
    assert catalogue.videos.count() == 5
    assert catalogue.videos.page(5).next_key is None


def test_pages_of_jobs_follow_one_another(catalogue: Catalogue) -> None:
    for name in "abcd":
        catalogue.videos.accept(video(name))
    catalogue.queue.claim("me")
    first = catalogue.jobs.page(1, state="queued")
    assert [row.video_id for row in first.rows] == ["vd"]
    catalogue.videos.accept(video("e"))
    catalogue.videos.delete("vd")
    second = catalogue.jobs.page(2, first.next_key, "queued")
    assert ([row.video_id for row in second.rows], second.next_key) == (["vc", "vb"], None)
    assert [row.video_id for row in catalogue.jobs.page(9).rows] == ["ve", "vc", "vb", "va"]


def test_totals_count_every_state(catalogue: Catalogue) -> None:
    catalogue.queue.commit(claimed(catalogue), INFO, [vectors()])
    catalogue.videos.accept(video("b"))
    totals = catalogue.totals([SPEC])
    assert totals.jobs == {**dict.fromkeys(JOB_STATES, 0), "ready": 1, "queued": 1}
    assert (totals.searchable_videos, totals.super_images) == (1, {2: 4})
    assert totals.change_number == catalogue.changes.number() == 1
    assert catalogue.totals([OTHER]).searchable_videos == 0


def test_totals_tell_how_long_the_oldest_job_waits(tmp_path: Path) -> None:
    now = 100.0
    catalogue = Catalogue(tmp_path / "clocked.sqlite3", clock=lambda: now)
    assert catalogue.totals([]).oldest_queued_seconds == 0
    for name, created in (("a", 40.0), ("b", 70.0)):
        now = created
        catalogue.videos.accept(video(name))
    now = 100.0
    assert catalogue.totals([]).oldest_queued_seconds == 60
    catalogue.queue.claim("worker")
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
    assert [shop.changes.number() for shop in opened] == [0] * 8
    for shop in opened:
        shop.close()
