"""How far an encoding is: reported to the catalogue now and then, and stopped by it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from qasir.contract.jobs import Stage
from service.catalogue.queue import Progress

REPORT_SECONDS = 0.5
# Decoding and encoding overlap; of the whole, encoding is the larger part.
DECODE_SHARE = 0.3


class JobLost(Exception):
    """The job was deleted, cancelled or taken over: discard what was encoded."""


class Stopping(Exception):
    """The worker shall stop: release the job."""


@dataclass
class ProgressReporter:
    """Progress of encoding one video; `report` returns False when the job is no longer ours."""

    report: Callable[[Progress], bool]
    stopping: Callable[[], bool]
    clock: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self._begin = self._reported_at = self.clock()
        self._stage: Stage = "probe"
        self._expected = 1.0
        # Frames; those restored were encoded before a stop, and say nothing of the speed.
        self._decoded = self._encoded = self._restored = 0.0

    def expect(self, frames: float) -> None:
        """Set how many frames are to come, by what the container says."""
        self._expected = max(1.0, frames)

    def decoded(self, frames: float) -> None:
        """Set how many frames have been sampled so far."""
        self._decoded = max(self._decoded, frames)
        self.enter("decode" if self._encoded == 0 else self._stage)

    def encoded(self, frames: float) -> None:
        """Add frames that have been encoded."""
        self._encoded += frames
        self.decoded(self._encoded)

    def restored(self, frames: float) -> None:
        """Add frames that had been encoded before."""
        self._restored += frames
        self.encoded(frames)

    def enter(self, stage: Stage) -> None:
        """Begin the next stage, or go on with this one."""
        changed = stage != self._stage
        self._stage = stage
        self.check(always=changed)

    def check(self, *, always: bool = False) -> None:
        """Report to the catalogue, at most every half second unless `always`.

        Raises:
            JobLost: the job is no longer ours.
            Stopping: the worker shall stop.
        """
        if self.stopping():
            raise Stopping
        if always or self.clock() - self._reported_at >= REPORT_SECONDS:
            self._reported_at = self.clock()
            if not self.report(self.progress):
                raise JobLost

    @property
    def progress(self) -> Progress:
        """Return what a client sees: never 1 before the commit."""
        decoded, encoded, restored = (
            min(1.0, frames / self._expected)
            for frames in (self._decoded, self._encoded, self._restored)
        )
        done = min(0.99, DECODE_SHARE * decoded + (1 - DECODE_SHARE) * encoded)
        fresh = done - (1 - DECODE_SHARE) * restored
        elapsed = self.clock() - self._begin
        eta = round(elapsed / fresh * (1 - done), 1) if fresh > 0.01 else None
        return Progress(self._stage, round(done, 4), eta)
