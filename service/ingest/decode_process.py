"""The worker's end of a decode process: its messages in order, its death as an error."""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Self

from qasir.errors import DecoderCrashed
from service.ingest.decode import (
    TICK_SECONDS,
    DecodePlan,
    Finished,
    Message,
    Refused,
    decode,
)

# A clean process, started once and without threads, is forked for every video: nothing of
# the worker's is inherited, and PyAV and OpenCV are imported once.
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["service.ingest.decode"])


class Decoder:
    """One decode process; leaving the block kills it if it still runs."""

    def __init__(self, plan: DecodePlan, stall_seconds: float) -> None:
        self._stall_seconds = stall_seconds
        self._receiver, sender = _processes.Pipe(duplex=False)
        self._process = _processes.Process(target=decode, args=(plan, sender), daemon=True)
        self._process.start()
        # Ours must be closed, or the end of the process would not end the pipe.
        sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._receiver.close()

    @property
    def pid(self) -> int | None:
        """The process, for whoever wants to watch its memory."""
        return self._process.pid

    def messages(self, idle: Callable[[], None] = lambda: None) -> Iterator[Message]:
        """Messages up to Finished; `idle` is called now and then while none comes.

        Raises:
            QasirError: what the process said of the file.
            DecoderCrashed: it died, or was silent for too long.
        """
        while True:
            message = self._receive(self._receiver, idle)
            if isinstance(message, Refused):
                raise message.error
            yield message
            if isinstance(message, Finished):
                return

    def _receive(self, receiver: Connection, idle: Callable[[], None]) -> Message:
        if not self._arrives(receiver, idle):
            raise DecoderCrashed(
                f"decoding made no progress for {self._stall_seconds:.0f} s; the file may be "
                f"damaged: re-encode it, or raise QASIR_DECODE_STALL_SECONDS"
            )
        try:
            message: Message = receiver.recv()
        except EOFError as error:
            self._process.join(self._stall_seconds)
            raise DecoderCrashed(
                f"the decode process died (exit code {self._process.exitcode}) on this file; "
                f"re-encode it, for example with ffmpeg"
            ) from error
        return message

    def _arrives(self, receiver: Connection, idle: Callable[[], None]) -> bool:
        deadline = time.monotonic() + self._stall_seconds
        while not receiver.poll(min(TICK_SECONDS, self._stall_seconds)):
            if time.monotonic() >= deadline:
                return False
            idle()
        return True
