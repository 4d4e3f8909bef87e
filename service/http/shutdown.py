"""How a service process ends on SIGTERM: first it reports not ready, then it refuses new work.

    SIGTERM -> not ready (HTTP, gRPC), event streams end        QASIR_WITHDRAW_SECONDS
            -> no new connections, running requests go on       QASIR_DRAIN_SECONDS
            -> what still runs is cancelled -> the shutdown hook -> exit

uvicorn closes its sockets at the signal and waits for requests without a limit, BentoML's
supervisor for a day. So uvicorn gets the signal later, and requests are cancelled here.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import structlog

from qasir.errors import ModelUnavailable
from service.app import Readiness

log = structlog.get_logger()


class GracefulShutdown:
    """The end of one process, and the requests that it waits for."""

    def __init__(self, readiness: Readiness, withdraw_seconds: float, drain_seconds: float) -> None:
        self._readiness = readiness
        self._withdraw_seconds = withdraw_seconds
        self._drain_seconds = drain_seconds
        self._requests: set[asyncio.Task[object]] = set()
        self._expired = False

    @contextmanager
    def request(self) -> Iterator[None]:
        """Register the current task as one that serves a request.

        Raises:
            ModelUnavailable: it did not finish in time.
        """
        task = asyncio.current_task()
        assert task is not None, "requests are served by tasks"
        self._requests.add(task)
        try:
            yield
        except asyncio.CancelledError as error:
            if not self._expired:
                raise
            # Answered even so: BentoML waits for the start of a response, whatever happened.
            task.uncancel()
            raise ModelUnavailable("the service stops; send this again") from error
        finally:
            self._requests.discard(task)

    def install(self, on_stop: Callable[[], None]) -> None:
        """Handle SIGTERM before the server's own handler; call this from the running loop.

        `on_stop` is called together with that handler, after the process was not ready for a while.
        """
        loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
        if not callable(stop):
            return

        def begin(number: int, frame: FrameType | None) -> None:
            if self._readiness.withdrawn:
                return
            self._readiness.withdraw()
            log.info("stopping", requests=len(self._requests))
            loop.call_soon_threadsafe(loop.call_later, self._withdraw_seconds, end, number, frame)

        def end(number: int, frame: FrameType | None) -> None:
            on_stop()
            stop(number, frame)
            loop.call_later(self._drain_seconds, self._cancel)

        signal.signal(signal.SIGTERM, begin)

    def _cancel(self) -> None:
        self._expired = True
        for task in self._requests:
            log.warning("request cancelled", after_seconds=self._drain_seconds)
            task.cancel("the service stops")
