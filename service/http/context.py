"""What handlers share: the state of the process, limits on what runs at once, page tokens."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, Request
from pydantic import Field, TypeAdapter

from qasir.errors import InvalidInput
from service.app import AppState
from service.catalogue.videos import VideoKey
from service.http.limiter import ConcurrencyLimiter, Semaphore
from service.http.shutdown import GracefulShutdown

K = TypeVar("K")
T = TypeVar("T")

# Catalogue reads and pictures are short, so few threads serve many.
PARALLEL_READS = 8

VIDEO_KEY: TypeAdapter[VideoKey] = TypeAdapter(VideoKey)
# SQLite's integers end there.
JOB_KEY: TypeAdapter[int] = TypeAdapter(Annotated[int, Field(ge=0, lt=1 << 63)])


@dataclass(frozen=True)
class Context:
    """The state of one process with its limits."""

    core: AppState
    searches: ConcurrencyLimiter
    reads: ConcurrencyLimiter
    uploads: Semaphore
    streams: Semaphore
    requests: Semaphore
    shutdown: GracefulShutdown

    async def read(self, call: Callable[[], T]) -> T:
        """Run a short call in a thread."""
        return await self.reads.run(lambda _: call())

    def check_page(self, limit: int) -> None:
        """Refuse pages that are too long.

        Raises:
            InvalidInput: more than the configured number of entries.
        """
        max_page = self.core.settings.max_page
        if limit > max_page:
            raise InvalidInput(f"limit {limit}: a page has at most {max_page} entries")


def open_context(core: AppState) -> Context:
    """Set the limits of a process from its settings."""
    limits = core.settings
    wait_seconds = limits.search_seconds
    return Context(
        core=core,
        searches=ConcurrencyLimiter(
            "searches", limits.parallel_searches, limits.waiting_searches, wait_seconds
        ),
        reads=ConcurrencyLimiter("requests", PARALLEL_READS, limits.max_requests, wait_seconds),
        uploads=Semaphore("uploads", limits.parallel_uploads),
        streams=Semaphore("streams of job events", limits.job_streams),
        requests=Semaphore("requests", limits.max_requests),
        shutdown=GracefulShutdown(core.readiness, limits.withdraw_seconds, limits.drain_seconds),
    )


async def get_context(request: Request) -> Context:
    """Return the context of the app that serves a request."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]


def write_token(key: object | None) -> str | None:
    """Make a token of a key; None, which no page follows, stays None.

    >>> write_token((1.5, "v0"))
    'WzEuNSwidjAiXQ'
    """
    if key is None:
        return None
    text = json.dumps(key, separators=(",", ":"))
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_token(kind: TypeAdapter[K], token: str | None) -> K | None:
    """Read the key of a token; None stands for the first page.

    >>> read_token(VIDEO_KEY, "WzEuNSwidjAiXQ")
    (1.5, 'v0')

    Raises:
        InvalidInput: the token is of another list, or of none.
    """
    if token is None:
        return None
    try:
        padding = "=" * (-len(token) % 4)
        text = base64.b64decode(token + padding, altchars=b"-_", validate=True)
        return kind.validate_json(text, strict=True)
    except ValueError as error:
        raise InvalidInput(
            f"page_token '{token[:40]}' is none of this list; send the next_page_token of the page "
            f"before, or leave it out for the first page"
        ) from error
