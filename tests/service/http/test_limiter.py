"""Bounded concurrency: who is let in, who waits, who is sent away."""

import asyncio
import threading

import anyio
import pytest

from qasir.errors import Overloaded
from service.http.limiter import ConcurrencyLimiter, Semaphore


def test_calls_run_at_once_up_to_the_limit_and_the_rest_are_refused() -> None:
    limiter = ConcurrencyLimiter("searches", running=2, waiting=1, wait_seconds=5)
    go_on, refused, done = threading.Event(), [], []

    async def call() -> None:
        try:
            await limiter.run(lambda _: go_on.wait(5))
            done.append(1)
        except Overloaded as error:
            refused.append(str(error))
            go_on.set()

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(4):
                group.start_soon(call)

    anyio.run(run)
    assert (len(done), len(refused)) == (3, 1)
    assert "3 searches under way" in refused[0]


def test_waiting_in_line_is_timed_and_has_an_end() -> None:
    """The first call leaves soon, the second once the third has waited too long."""
    limiter = ConcurrencyLimiter("searches", running=1, waiting=9, wait_seconds=0.5)
    queued: list[float] = []
    refused: list[Overloaded] = []
    given_up = threading.Event()

    def work(seconds: float) -> None:
        queued.append(seconds)
        given_up.wait(0.1 if len(queued) == 1 else 5)

    async def call() -> None:
        try:
            await limiter.run(work)
        except Overloaded as error:
            refused.append(error)
            given_up.set()

    async def run() -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(call)

    anyio.run(run)
    assert len(queued) == 2
    assert queued[0] < 0.1 < queued[1]
    assert len(refused) == 1


def test_errors_of_a_call_are_its_callers() -> None:
    limiter = ConcurrencyLimiter("searches", running=1, waiting=0, wait_seconds=1)

    def fail(_: float) -> None:
        raise ZeroDivisionError

    async def run() -> None:
        with pytest.raises(ZeroDivisionError):
            await limiter.run(fail)
        assert await limiter.run(lambda _: 7) == 7

    anyio.run(run)


def test_slots_are_given_back() -> None:
    slots = Semaphore("uploads", 1)
    with (
        slots.acquire(),
        pytest.raises(Overloaded, match="1 uploads under way"),
        slots.acquire(),
    ):
        pass
    with slots.acquire():
        pass


def test_a_caller_that_goes_away_leaves_the_line_but_not_its_place() -> None:
    limiter = ConcurrencyLimiter("searches", running=1, waiting=1, wait_seconds=5)
    go_on, ran = threading.Event(), []

    def work(_: float) -> None:
        ran.append(1)
        go_on.wait(5)

    async def run() -> None:
        first, second = (asyncio.ensure_future(limiter.run(work)) for _ in range(2))
        await anyio.wait_all_tasks_blocked()
        for task in (first, second):
            task.cancel()
        await asyncio.wait([first, second])
        third = asyncio.ensure_future(limiter.run(work))
        await anyio.wait_all_tasks_blocked()
        assert len(ran) == 1, "the first still has the only thread"
        with pytest.raises(Overloaded):
            await limiter.run(work)
        go_on.set()
        await third

    anyio.run(run)
    assert len(ran) == 2
