"""How a service process ends on SIGTERM: first it is not ready, then it takes nothing new.

    SIGTERM -> not ready (HTTP, gRPC), event streams end       QASIR_WITHDRAW_SECONDS
            -> no new connections, requests under way go on    QASIR_DRAIN_SECONDS
            -> what still runs is cancelled -> the shutdown hook -> exit

uvicorn closes its sockets at the signal and waits for requests without an end, BentoML's
supervisor for a day. So the signal reaches uvicorn later, and requests are cancelled here.
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
    """One process's end, and the requests it has to wait for."""

    def __init__(self, readiness: Readiness, withdraw_seconds: float, drain_seconds: float) -> None:
        self._readiness = readiness
        self._withdraw_seconds = withdraw_seconds
        self._drain_seconds = drain_seconds
        self._requests: set[asyncio.Task[object]] = set()
        self._over = False

    @contextmanager
    def request(self) -> Iterator[None]:
        """The current task serves a request.

        Raises:
            ModelUnavailable: it had its time to finish and did not.
        """
        task = asyncio.current_task()
        assert task is not None, "requests are served by tasks"
        self._requests.add(task)
        try:
            yield
        except asyncio.CancelledError as error:
            if not self._over:
                raise
            # To be answered: BentoML waits for the first word of an answer, whatever happened.
            task.uncancel()
            raise ModelUnavailable("the service stops; send this again") from error
        finally:
            self._requests.discard(task)

    def install(self, and_then: Callable[[], None]) -> None:
        """Put this before the server's own answer to SIGTERM; call it from the running loop.

        `and_then` is called together with that answer, after the time of being not ready.
        """
        loop, stop = asyncio.get_running_loop(), signal.getsignal(signal.SIGTERM)
        if not callable(stop):
            return

        def begin(number: int, frame: FrameType | None) -> None:
            if self._readiness.withdrawn:
                return
            self._readiness.withdraw()
            log.info("ending", requests=len(self._requests))
            loop.call_soon_threadsafe(loop.call_later, self._withdraw_seconds, end, number, frame)

        def end(number: int, frame: FrameType | None) -> None:
            and_then()
            stop(number, frame)
            loop.call_later(self._drain_seconds, self._cancel)

        signal.signal(signal.SIGTERM, begin)

    def _cancel(self) -> None:
        self._over = True
        for task in self._requests:
            log.warning("request cancelled", after_seconds=self._drain_seconds)
            task.cancel("the service stops")
