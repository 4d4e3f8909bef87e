"""A job's changes as they happen: for gRPC, and as server-sent events."""

import time
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import anyio.to_thread
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from qasir.contract.jobs import Job
from qasir.errors import NotFound
from service.http.context import Context

# No stream lasts longer: a client that still waits connects again.
WATCH_SECONDS = 1800.0
# Proxies keep a quiet stream open, and the service notices clients that have gone.
HEARTBEAT_SECONDS = 10
# A client that takes nothing for this long has gone without closing the connection.
SEND_SECONDS = 30.0
RECONNECT_MILLISECONDS = 1000


async def watch(
    job_id: str, context: Context, seconds: float = WATCH_SECONDS
) -> AsyncIterator[Job]:
    """Yield the job as it is now, then each time it changes, until it has ended.

    It stops earlier after `seconds`, and when this process stops: a client that reconnects is
    served by another process.

    Raises:
        NotFound: there is none with this id, or its video was deleted meanwhile.
    """
    core, previous, deadline = context.core, None, time.monotonic() + seconds
    while True:
        row = await anyio.to_thread.run_sync(core.catalogue.jobs.get, job_id)
        if row != previous:
            yield Job.of(row)
        if row.ended or core.readiness.withdrawn or time.monotonic() > deadline:
            return
        previous = row
        await anyio.sleep(core.settings.poll_seconds)


class JobEvents(EventSourceResponse):
    """One event named `job` for each change; its id is the job's state."""

    def __init__(self, job_id: str, context: Context) -> None:
        super().__init__(
            _events(job_id, context), ping=HEARTBEAT_SECONDS, send_timeout=SEND_SECONDS
        )
        self._streams = context.streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream.

        Raises:
            Overloaded: too many are under way.
        """
        with self._streams.acquire():
            await super().__call__(scope, receive, send)


async def _events(job_id: str, context: Context) -> AsyncIterator[ServerSentEvent]:
    # If the video is deleted meanwhile, the stream ends; a client that reconnects gets 404.
    with suppress(NotFound):
        async for job in watch(job_id, context):
            yield ServerSentEvent(
                job.model_dump_json(), event="job", id=job.state, retry=RECONNECT_MILLISECONDS
            )
