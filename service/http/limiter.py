"""Bounded concurrency: a number of calls run, a number wait, any further one is refused."""

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
    """Threads for `running` calls and a queue for `waiting` more."""

    def __init__(self, what: str, running: int, waiting: int, wait_seconds: float) -> None:
        self._what = what
        self._running = running
        self._wait_seconds = wait_seconds
        self._limiter: anyio.CapacityLimiter | None = None
        # The limiter counts only tasks that have reached it, so it would let a burst pass.
        self._admitted = Semaphore(what, running + waiting)

    async def run(self, call: Callable[[float], T]) -> T:
        """Run `call` in a thread, with the seconds that it waited in the queue.

        Raises:
            Overloaded: the queue is full, or it waited too long.
        """
        # Created here: a limiter belongs to the event loop that first uses it.
        limiter = self._limiter = self._limiter or anyio.CapacityLimiter(self._running)
        queued_at = time.perf_counter()
        # Only waiting is cut short; a call that has begun runs to its end.
        waiting = anyio.CancelScope(deadline=anyio.current_time() + self._wait_seconds)

        async def run_in_turn() -> T:
            with self._admitted.acquire(), waiting:
                return await anyio.to_thread.run_sync(
                    lambda: call(time.perf_counter() - queued_at), limiter=limiter
                )
            raise Overloaded(
                f"waited {self._wait_seconds:.0f} s behind other {self._what}; try again later"
            )

        # A caller that goes away cancels what it awaits. In a task of its own the call keeps its
        # slot until its thread ends; otherwise the next call would share the thread's slot.
        task = asyncio.ensure_future(run_in_turn())
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            waiting.cancel()
            task.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise


class Semaphore:
    """A number of slots for long-lived things, without a queue."""

    def __init__(self, what: str, count: int) -> None:
        self._what = what
        self._count = count
        self._acquired = 0

    @contextmanager
    def acquire(self) -> Iterator[None]:
        """Hold a slot.

        Raises:
            Overloaded: all are taken.
        """
        if self._acquired >= self._count:
            raise Overloaded(f"{self._acquired} {self._what} under way already; try again soon")
        self._acquired += 1
        try:
            yield
        finally:
            self._acquired -= 1
