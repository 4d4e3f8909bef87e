"""Following a job to its end, by a clock that the tests move on."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from qasir.client import client as waiting
from qasir.client.client import PATIENCE_SECONDS, PAUSE_SECONDS, wait_for_end
from qasir.contract.jobs import Job, JobError
from qasir.errors import DecoderCrashed, ModelUnavailable, NotFound, Overloaded, QasirError
from tests.support.scripted import JOB

QUEUED = Job.model_validate({**JOB, "state": "queued", "stage": None, "progress": 0.0})


def changed(job: Job, **fields: Any) -> Job:
    return job.model_copy(update=fields)


RUNNING = changed(QUEUED, state="running", stage="encode", progress=0.5, eta_seconds=2.0)
READY = changed(RUNNING, state="ready", stage="commit", progress=1.0, eta_seconds=0.0)
AWAY = ModelUnavailable("the service starts again")

# What one stream tells: jobs, seconds that pass, and the error that it breaks off with.
Story = tuple[Job | float | QasirError, ...]


@dataclass
class Clock:
    """Stands for the module `time`: passes during a sleep, or where a story has seconds."""

    now: float = 100.0
    slept: list[float] = field(default_factory=list)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


@dataclass
class Streams:
    """A watch that tells one story after the other, the last one for ever."""

    clock: Clock
    stories: list[Story]
    timeouts: list[float] = field(default_factory=list)

    def __call__(self, left: float) -> Iterator[Job]:
        self.timeouts.append(left)
        story = self.stories.pop(0) if len(self.stories) > 1 else self.stories[0]
        for part in story:
            match part:
                case Job():
                    yield part
                case QasirError():
                    raise part
                case seconds:
                    self.clock.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(waiting, "time", made)
    return made


@pytest.fixture
def streams(clock: Clock) -> Callable[..., Streams]:
    return lambda *stories: Streams(clock, list(stories))


def test_each_change_is_told_once_and_the_end_returned(
    clock: Clock, streams: Callable[..., Streams]
) -> None:
    watch, changes = streams((QUEUED, QUEUED, RUNNING, READY, QUEUED)), list[Job]()
    assert wait_for_end("j1", watch, changes.append, 60) == READY
    assert changes == [QUEUED, RUNNING, READY], "no change follows the end"
    assert (watch.timeouts, clock.slept) == ([60.0], [])


def test_a_stream_that_ends_early_is_opened_again(
    clock: Clock, streams: Callable[..., Streams]
) -> None:
    watch, changes = streams((QUEUED, 3.0, RUNNING), (RUNNING, 1.0, READY)), list[Job]()
    assert wait_for_end("j1", watch, changes.append, 60) == READY
    assert changes == [QUEUED, RUNNING, READY], "the second stream begins with what is known"
    assert watch.timeouts == [60.0, 60 - 3.0 - PAUSE_SECONDS], "what is left of the time"
    assert clock.slept == [PAUSE_SECONDS]


def test_a_service_that_starts_again_is_waited_for(
    clock: Clock, streams: Callable[..., Streams]
) -> None:
    away: list[Story] = [(AWAY,), (Overloaded("64 streams are open"),)]
    watch, changes = streams((QUEUED, AWAY), *away, (READY,)), list[Job]()
    assert wait_for_end("j1", watch, changes.append, 60) == READY
    assert changes == [QUEUED, READY]
    assert clock.slept == [PAUSE_SECONDS] * 3


def test_a_service_that_stays_away_is_given_up(
    clock: Clock, streams: Callable[..., Streams]
) -> None:
    watch = streams((RUNNING, AWAY), (AWAY,))
    with pytest.raises(ModelUnavailable) as caught:
        wait_for_end("j1", watch, lambda _: None, 3600)
    assert caught.value is AWAY
    assert PATIENCE_SECONDS < clock.now - 100 <= PATIENCE_SECONDS + PAUSE_SECONDS


def test_patience_begins_again_with_every_word(
    clock: Clock, streams: Callable[..., Streams]
) -> None:
    quiet: Story = (RUNNING, PATIENCE_SECONDS - 1, AWAY)
    watch = streams(*[quiet] * 5, (READY,))
    assert wait_for_end("j1", watch, lambda _: None, 3600) == READY
    assert clock.now - 100 > 4 * PATIENCE_SECONDS


def test_an_error_that_lasts_ends_the_wait_at_once(
    clock: Clock, streams: Callable[..., Streams]
) -> None:
    watch = streams((NotFound("no job 'j1'"),))
    with pytest.raises(NotFound, match="no job 'j1'"):
        wait_for_end("j1", watch, lambda _: None, 60)
    assert (len(watch.timeouts), clock.slept) == (1, [])


def test_a_failed_job_raises_its_error(streams: Callable[..., Streams]) -> None:
    failure = JobError(code="decoder_crashed", detail="frame 7", retryable=False)
    failed, changes = changed(RUNNING, state="failed", error=failure), list[Job]()
    with pytest.raises(DecoderCrashed, match="frame 7"):
        wait_for_end("j1", streams((RUNNING, failed)), changes.append, 60)
    assert changes == [RUNNING, failed], "the failure is a change, too"


def test_the_failure_of_an_attempt_is_not_the_end(streams: Callable[..., Streams]) -> None:
    failure = JobError(code="model_unavailable", detail="Triton is away", retryable=True)
    again = changed(QUEUED, error=failure, attempts=1)
    assert wait_for_end("j1", streams((again, READY)), lambda _: None, 60) == READY


def test_a_cancelled_job_is_an_end_and_no_error(streams: Callable[..., Streams]) -> None:
    cancelled = changed(RUNNING, state="cancelled", eta_seconds=None)
    assert wait_for_end("j1", streams((RUNNING, cancelled)), lambda _: None, 60) == cancelled


@pytest.mark.parametrize(
    ("story", "state"), [((RUNNING,), "running"), ((AWAY,), "unknown"), ((), "unknown")]
)
def test_the_deadline_says_how_the_job_stood(
    clock: Clock, streams: Callable[..., Streams], story: Story, state: str
) -> None:
    watch = streams(story)
    with pytest.raises(ModelUnavailable, match=f"job j1 is {state} after 1.2 s; wait longer"):
        wait_for_end("j1", watch, lambda _: None, 1.2)
    assert clock.now == pytest.approx(101.2), "no pause goes past the deadline"
    assert watch.timeouts == pytest.approx([1.2, 0.7, 0.2])


def test_a_job_that_keeps_changing_does_not_outlast_the_deadline(
    clock: Clock, streams: Callable[..., Streams]
) -> None:
    steps = [changed(RUNNING, progress=i / 100) for i in range(100)]
    story = tuple(part for step in steps for part in (step, 1.0))
    changes = list[Job]()
    with pytest.raises(ModelUnavailable, match="job j1 is running after 10 s"):
        wait_for_end("j1", streams(story), changes.append, 10)
    assert clock.now == 110
    assert changes[-1].progress == pytest.approx(0.1), "the last change before the deadline"


def test_an_end_at_the_deadline_is_an_end(streams: Callable[..., Streams]) -> None:
    assert wait_for_end("j1", streams((RUNNING, 10.0, READY)), lambda _: None, 10) == READY


def test_no_time_is_no_question(streams: Callable[..., Streams]) -> None:
    watch = streams((READY,))
    with pytest.raises(ModelUnavailable, match="unknown after 0 s"):
        wait_for_end("j1", watch, lambda _: None, 0)
    assert watch.timeouts == []
