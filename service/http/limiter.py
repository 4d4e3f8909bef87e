"""Bounded concurrency: so many at work, so many waiting, the next one is told to come later."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import anyio
import anyio.to_thread

from qasir.errors import Overloaded

T = TypeVar("T")


class ConcurrencyLimiter:
    """Threads for `running` calls and a line for `waiting` more."""

    def __init__(self, what: str, running: int, waiting: int, patience_seconds: float) -> None:
        self._what = what
        self._running = running
        self._patience_seconds = patience_seconds
        self._limiter: anyio.CapacityLimiter | None = None
        # Counted here and not by the limiter, which only counts once a task has come to it:
        # a burst would pass unseen.
        self._places = Semaphore(what, running + waiting)

    async def run(self, call: Callable[[float], T]) -> T:
        """Run `call` in a thread; it is told the seconds it waited in line.

        Raises:
            Overloaded: the line is full, or did not move for too long.
        """
        # Made here: a limiter belongs to the event loop it is first used in.
        limiter = self._limiter = self._limiter or anyio.CapacityLimiter(self._running)
        asked = time.perf_counter()
        # Only waiting in line is cut short; a call that has begun is let finish.
        line = anyio.CancelScope(deadline=anyio.current_time() + self._patience_seconds)

        async def turn() -> T:
            with self._places.place(), line:
                return await anyio.to_thread.run_sync(
                    lambda: call(time.perf_counter() - asked), limiter=limiter
                )
            raise Overloaded(
                f"waited {self._patience_seconds:.0f} s behind other {self._what}; try again later"
            )

        # In a task of its own, because a caller that goes away cancels what it waits for: its
        # thread would run on while its place was given to the next.
        task = asyncio.ensure_future(turn())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            line.cancel()
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise


class Semaphore:
    """Room for so many long-lived things at once, and no line."""

    def __init__(self, what: str, count: int) -> None:
        self._what = what
        self._count = count
        self._taken = 0

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place.

        Raises:
            Overloaded: all are taken.
        """
        if self._taken >= self._count:
            raise Overloaded(f"{self._taken} {self._what} under way already; try again soon")
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
