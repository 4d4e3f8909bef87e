"""What handlers share: the state of the process, and the limits on what runs at once."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, TypeVar

from fastapi import Depends, FastAPI, Request

from qasir.errors import InvalidInput
from service.app import AppState
from service.http.limiter import ConcurrencyLimiter, Semaphore
from service.http.shutdown import GracefulShutdown

T = TypeVar("T")

# Catalogue reads and pictures are short, so few threads serve many.
PARALLEL_READS = 8


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


def set_context(app: FastAPI, context: Context) -> None:
    """Give an app its context, once the process has one."""
    app.state.context = context


def get_context(request: Request) -> Context:
    """Return the context of the app that serves a request."""
    context: Context = request.app.state.context
    return context


ContextDep = Annotated[Context, Depends(get_context)]
