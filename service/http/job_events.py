"""A job's changes as server-sent events."""

from collections.abc import AsyncIterator
from contextlib import suppress

from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from qasir.errors import NotFound
from service.http.context import Context
from service.http.schemas.jobs import JobOut

# So that proxies keep a stream in which nothing happens, and we notice who has gone.
HEARTBEAT_SECONDS = 10
# A client that takes nothing for so long has gone without a word.
SEND_SECONDS = 30.0
RECONNECT_MILLISECONDS = 1000


class JobEvents(EventSourceResponse):
    """One event named `job` for each change; its id is the job's state."""

    def __init__(self, job_id: str, context: Context) -> None:
        super().__init__(
            _events(job_id, context), ping=HEARTBEAT_SECONDS, send_timeout=SEND_SECONDS
        )
        self._places = context.streams

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream.

        Raises:
            Overloaded: too many are under way.
        """
        with self._places.place():
            await super().__call__(scope, receive, send)


async def _events(job_id: str, context: Context) -> AsyncIterator[ServerSentEvent]:
    # A video deleted meanwhile ends the stream; who connects again is told 404.
    with suppress(NotFound):
        async for job in context.core.jobs.watch(job_id):
            yield ServerSentEvent(
                JobOut.of(job).model_dump_json(),
                event="job",
                id=job.state,
                retry=RECONNECT_MILLISECONDS,
            )
