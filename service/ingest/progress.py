"""How far an encoding is: told to the catalogue now and then, and stopped by it."""

import time
from collections.abc import Callable

from qasir.contract.jobs import Stage
from service.catalogue.queue import Progress

TELL_SECONDS = 0.5
# Decoding and encoding overlap; of the whole, encoding is the larger part.
DECODE_SHARE = 0.3


class JobLost(Exception):
    """The job was deleted, cancelled or taken over: drop what was done."""


class Stopping(Exception):
    """The worker was told to stop: give the job back."""


class ProgressReporter:
    """Progress of encoding one video; `tell` answers whether it is still wanted."""

    def __init__(
        self,
        tell: Callable[[Progress], bool],
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._stopping = stopping
        self._clock = clock
        self._begin = clock()
        self._told = clock()
        self._stage: Stage = "probe"
        self._expected = 1.0
        self._decoded = 0.0
        self._encoded = 0.0
        self._restored = 0.0

    def expect(self, frames: float) -> None:
        """So many frames are to come, by what the container says."""
        self._expected = max(1.0, frames)

    def decoded(self, frames: float) -> None:
        """So many frames have been sampled so far."""
        self._decoded = max(self._decoded, frames)
        self.enter("decode" if self._encoded == 0 else self._stage)

    def encoded(self, frames: float) -> None:
        """So many more frames have been encoded."""
        self._encoded += frames
        self.decoded(self._encoded)

    def restored(self, frames: float) -> None:
        """So many more frames had been encoded before; they say nothing of the speed."""
        self._restored += frames
        self.encoded(frames)

    def enter(self, stage: Stage) -> None:
        """The next stage has begun, or goes on."""
        changed = stage != self._stage
        self._stage = stage
        self.check(always=changed)

    def check(self, *, always: bool = False) -> None:
        """Tell the catalogue, at most every half second unless `always`.

        Raises:
            JobLost: the job is no longer ours.
            Stopping: the worker shall stop.
        """
        if self._stopping():
            raise Stopping
        if always or self._clock() - self._told >= TELL_SECONDS:
            self._told = self._clock()
            if not self._tell(self.progress):
                raise JobLost

    @property
    def progress(self) -> Progress:
        """What a client sees: never 1 before the commit."""
        decoded = min(1.0, self._decoded / self._expected)
        encoded = min(1.0, self._encoded / self._expected)
        done = min(0.99, DECODE_SHARE * decoded + (1 - DECODE_SHARE) * encoded)
        elapsed = self._clock() - self._begin
        fresh = done - (1 - DECODE_SHARE) * min(1.0, self._restored / self._expected)
        eta = round(elapsed / fresh * (1 - done), 1) if fresh > 0.01 else None
        return Progress(self._stage, round(done, 4), eta)
