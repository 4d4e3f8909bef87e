"""What can be done with ingest jobs, before any transport.

    queued -> running -> ready
       |         |-----> failed ----+
       +---------+-----> cancelled -+--> retry: a new job of the same video

A job ends once and stays as it ended. Everything is read from the catalogue, so every
service process answers alike, whichever process or worker made the change.
"""

import time
from collections.abc import AsyncIterator, Callable

import anyio
import anyio.to_thread

from qasir.contract.jobs import JobState
from qasir.errors import Overloaded
from service.catalogue.catalogue import Catalogue
from service.catalogue.jobs import Job
from service.observability.tracing import traceparent
from service.settings import Settings

# Nobody is watched for ever.
WATCH_SECONDS = 1800.0


class Jobs:
    """The library's jobs: listed, watched, cancelled, tried again; safe to share by threads."""

    def __init__(
        self, settings: Settings, catalogue: Catalogue, stopping: Callable[[], bool]
    ) -> None:
        self._settings = settings
        self._catalogue = catalogue
        self._stopping = stopping

    def get(self, job_id: str) -> Job:
        """One job.

        Raises:
            NotFound: there is none with this id.
        """
        return self._catalogue.jobs.get(job_id)

    def list(self, offset: int, limit: int, state: JobState | None) -> list[Job]:
        """Some of the jobs, newest first."""
        return self._catalogue.jobs.slice(offset, limit, state)

    def cancel(self, job_id: str) -> Job:
        """End a job that has not ended; one that is cancelled already stays so.

        What its worker does is dropped within a second and never becomes searchable.

        Raises:
            NotFound: there is none with this id.
            Conflict: it is ready or has failed.
        """
        return self._catalogue.jobs.cancel(job_id)

    def retry(self, job_id: str) -> Job:
        """Queue a new job for the video of one that failed or was cancelled.

        Raises:
            NotFound: there is none with this id.
            Conflict: it has not ended, is ready, or its video has a newer job.
            Overloaded: the queue is full.
        """
        self.check_room()
        return self._catalogue.jobs.retry(job_id, traceparent())

    def check_room(self) -> None:
        """Refuse one more job where too many wait already.

        Raises:
            Overloaded: the queue is full.
        """
        waiting, limit = self._catalogue.jobs.queued_count(), self._settings.max_queued_jobs
        if waiting >= limit:
            raise Overloaded(f"{waiting} videos wait to be ingested, the limit is {limit}")

    async def watch(self, job_id: str, seconds: float = WATCH_SECONDS) -> AsyncIterator[Job]:
        """The job as it is, then as often as it changes, until it has ended.

        It stops earlier after `seconds`, and where this process is told to stop: whoever
        still wants to know asks again, and another process answers.

        Raises:
            NotFound: there is none with this id, or its video was deleted meanwhile.
        """
        seen, deadline = None, time.monotonic() + seconds
        while True:
            job = await anyio.to_thread.run_sync(self._catalogue.jobs.get, job_id)
            if job != seen:
                yield job
            if job.ended or self._stopping() or time.monotonic() > deadline:
                return
            seen = job
            await anyio.sleep(self._settings.poll_seconds)
