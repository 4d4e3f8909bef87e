"""Jobs: cancelled, tried again and watched, from whichever process asks."""

import itertools
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio
import httpx
import httpx_sse
import psutil
import pytest

from qasir.contract.jobs import Job
from qasir.errors import Conflict, NotFound, Overloaded
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import JobError
from service.catalogue.queue import Progress
from service.http import jobs
from service.http.context import Context, open_context
from service.settings import Settings
from tests.support.catalogue import INFO, claimed, vectors, video
from tests.support.service import RunningService
from tests.support.triton import RunningTriton
from tests.support.waiting import wait_for

FAULT = JobError("no_frames", "nothing decodes", retryable=False)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state=tmp_path, poll_seconds=0.01, max_queued_jobs=2)


@pytest.fixture
def catalogue(settings: Settings) -> Iterator[Catalogue]:
    """The worker's; the service's is another, on the same file."""
    opened = Catalogue(settings.folders.catalogue)
    yield opened
    opened.close()


class Operations:
    """The operations on jobs, as every transport calls them."""

    def __init__(self, settings: Settings, catalogue: Catalogue) -> None:
        self.readiness = SimpleNamespace(withdrawn=False)
        core: Any = SimpleNamespace(
            settings=settings, catalogue=catalogue, readiness=self.readiness
        )
        self.context: Context = open_context(core)

    def get(self, job_id: str) -> Job:
        return anyio.run(jobs.get_job, job_id, self.context)

    def cancel(self, job_id: str) -> Job:
        return anyio.run(jobs.cancel_job, job_id, self.context)

    def retry(self, job_id: str) -> Job:
        return anyio.run(jobs.retry_job, job_id, self.context)


@pytest.fixture
def operations(settings: Settings) -> Iterator[Operations]:
    opened = Catalogue(settings.folders.catalogue)
    yield Operations(settings, opened)
    opened.close()


def test_cancel_takes_a_job_out_of_the_queue(catalogue: Catalogue, operations: Operations) -> None:
    accepted = catalogue.videos.accept(video())
    job = operations.cancel(accepted.job.id)
    assert (job.state, job.finished_at is not None) == ("cancelled", True)
    assert operations.cancel(job.id) == job
    assert catalogue.queue.claim("me") is None
    assert catalogue.videos.get("va").state == "cancelled"


def test_cancel_takes_a_job_from_its_worker(catalogue: Catalogue, operations: Operations) -> None:
    mine = claimed(catalogue)
    operations.cancel(mine.job.id)
    assert not catalogue.queue.heartbeat(mine, Progress("encode", 0.5, None))
    assert not catalogue.queue.commit(mine, INFO, [vectors()])
    assert not catalogue.queue.fail(mine, FAULT)
    assert not catalogue.queue.release(mine, 0)
    assert (catalogue.videos.get("va").state, catalogue.vector_files.all()) == ("cancelled", [])


def test_what_has_ended_is_not_cancelled(catalogue: Catalogue, operations: Operations) -> None:
    ready, failed = claimed(catalogue, "a"), claimed(catalogue, "b")
    catalogue.queue.commit(ready, INFO, [vectors()])
    catalogue.queue.fail(failed, FAULT)
    for mine, state in ((ready, "ready"), (failed, "failed")):
        with pytest.raises(Conflict, match=f"is {state} already"):
            operations.cancel(mine.job.id)
    assert catalogue.videos.get("va").state == "ready"


@pytest.mark.parametrize("ending", ["failed", "cancelled"])
def test_retry_is_a_new_job_of_the_same_video(
    catalogue: Catalogue, operations: Operations, ending: str
) -> None:
    mine = claimed(catalogue)
    if ending == "failed":
        catalogue.queue.fail(mine, FAULT)
    else:
        operations.cancel(mine.job.id)
    again = operations.retry(mine.job.id)
    assert (again.video_id, again.state, again.attempts) == ("va", "queued", 0)
    assert operations.get(mine.job.id).state == ending
    assert catalogue.videos.get("va").state == "queued"
    with pytest.raises(Conflict, match=f"followed by job '{again.id}', which is queued"):
        operations.retry(mine.job.id)
    taken = catalogue.queue.claim("me")
    assert taken is not None
    assert taken.job.id == again.id
    assert catalogue.queue.commit(taken, INFO, [vectors()])


def test_retry_of_what_may_still_succeed_is_refused(
    catalogue: Catalogue, operations: Operations
) -> None:
    mine = claimed(catalogue)
    with pytest.raises(Conflict, match="is running; only a failed"):
        operations.retry(mine.job.id)
    catalogue.queue.commit(mine, INFO, [vectors()])
    with pytest.raises(Conflict, match="is ready; only a failed"):
        operations.retry(mine.job.id)
    for ask in (operations.get, operations.cancel, operations.retry):
        with pytest.raises(NotFound, match="no job 'j0'"):
            ask("j0")


def test_retry_waits_for_room_like_an_upload(catalogue: Catalogue, operations: Operations) -> None:
    cancelled = operations.cancel(catalogue.videos.accept(video("a")).job.id)
    catalogue.videos.accept(video("b"))
    catalogue.videos.accept(video("c"))
    with pytest.raises(Overloaded, match="2 videos wait"):
        operations.retry(cancelled.id)


def watched(
    operations: Operations, job_id: str, react: Callable[[Job], object], **bound: float
) -> list[Job]:
    """Every job that a watch yields; `react` is called with each."""
    seen: list[Job] = []

    async def run() -> None:
        with anyio.fail_after(10):
            async for job in jobs.watch(job_id, operations.context, **bound):
                seen.append(job)
                react(job)

    anyio.run(run)
    return seen


def test_watch_tells_each_change_once(catalogue: Catalogue, operations: Operations) -> None:
    job_id = catalogue.videos.accept(video()).job.id

    def work(job: Job) -> None:
        if job.state == "queued":
            mine.append(catalogue.queue.claim("me"))
        elif job.progress == 0:
            catalogue.queue.heartbeat(mine[0], Progress("encode", 0.5, 3.0))
        elif job.state == "running":
            catalogue.queue.commit(mine[0], INFO, [vectors()])

    mine: list[Any] = []
    seen = watched(operations, job_id, work)
    assert [(job.state, job.progress) for job in seen] == [
        ("queued", 0.0),
        ("running", 0.0),
        ("running", 0.5),
        ("ready", 1.0),
    ]
    assert seen[2].eta_seconds == 3.0
    assert [job.state for job in watched(operations, job_id, print)] == ["ready"]


def test_watch_ends_where_nobody_may_wait_any_longer(
    catalogue: Catalogue, operations: Operations
) -> None:
    job_id = catalogue.videos.accept(video()).job.id
    assert len(watched(operations, job_id, print, seconds=0.05)) == 1

    def stop(_: Job) -> None:
        operations.readiness.withdrawn = True

    assert len(watched(operations, job_id, stop)) == 1


def test_watch_of_a_deleted_video_says_so(catalogue: Catalogue, operations: Operations) -> None:
    job_id = catalogue.videos.accept(video()).job.id
    with pytest.raises(NotFound):
        watched(operations, job_id, lambda _: catalogue.videos.delete("va"))


def events(service: RunningService, job_id: str) -> Iterator[httpx_sse.ServerSentEvent]:
    with (
        httpx.Client(base_url=service.http.base_url, timeout=30) as http,
        httpx_sse.connect_sse(http, "GET", f"/v1/jobs/{job_id}/events") as source,
    ):
        yield from source.iter_sse()


def test_events_lead_to_the_end_and_end_there(running_service: RunningService) -> None:
    accepted = running_service.upload(running_service.new_video(60)).json()
    heard = list(events(running_service, accepted["job_id"]))
    assert {event.event for event in heard} == {"job"}
    told = [json.loads(event.data) for event in heard]
    assert told[-1] == running_service.http.get(f"/v1/jobs/{accepted['job_id']}").json()
    assert told[-1]["state"] == heard[-1].id == "ready"
    progress = [job["progress"] for job in told]
    assert progress == sorted(progress)
    assert all(before != after for before, after in itertools.pairwise(told))


def test_a_browser_that_heard_the_end_is_told_to_stop(running_service: RunningService) -> None:
    accepted = running_service.upload(running_service.new_video()).json()
    running_service.finished(accepted["job_id"])
    url = f"/v1/jobs/{accepted['job_id']}/events"
    again = running_service.http.get(url, headers={"Last-Event-ID": "ready"})
    assert (again.status_code, again.content) == (204, b"")
    missed = running_service.http.get(url, headers={"Last-Event-ID": "running"})
    assert missed.headers["content-type"].startswith("text/event-stream")
    assert "event: job\r\n" in missed.text
    nobody = running_service.http.get("/v1/jobs/j0/events")
    assert (nobody.status_code, nobody.json()["code"]) == (404, "not_found")


def children(service: RunningService) -> set[psutil.Process]:
    leader = service.worker.leader()
    assert leader is not None
    return set(leader.children(recursive=True))


def test_cancelled_ingest_leaves_nothing_and_can_be_retried(
    running_service: RunningService, triton_server: RunningTriton
) -> None:
    running_service.ingested()
    idle = children(running_service)
    (triton, *_) = sorted(triton_server.process.members(), key=lambda p: p.create_time())
    triton.send_signal(signal.SIGSTOP)
    try:
        accepted = running_service.upload(running_service.new_video(400)).json()
        job_id, video_id = accepted["job_id"], accepted["video_id"]
        wait_for(lambda: children(running_service) - idle)
        running_service.until_encoding(job_id)
        job = running_service.http.post(f"/v1/jobs/{job_id}/cancel").json()
        assert (job["state"], job["id"]) == ("cancelled", job_id)
    finally:
        triton.send_signal(signal.SIGCONT)
    wait_for(lambda: children(running_service) == idle)
    folders = running_service.settings.folders
    wait_for(lambda: not (folders.media / video_id / "sheets").exists())
    assert not (folders.vectors / video_id).exists()
    assert video_id not in running_service.found()
    assert running_service.http.get(f"/v1/videos/{video_id}").json()["state"] == "cancelled"
    retried = running_service.http.post(f"/v1/jobs/{job_id}/retry")
    assert (retried.status_code, retried.json()["video_id"]) == (202, video_id)
    assert running_service.finished(retried.json()["id"])["state"] == "ready"
    assert video_id in running_service.found()
    refused = running_service.http.post(f"/v1/jobs/{retried.json()['id']}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
