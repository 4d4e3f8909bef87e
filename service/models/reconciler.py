"""What a service process does beside its requests: it follows the serving file.

serving file -> vectors of the active and the next generation in memory
             -> Triton serves all kept versions (one process at a time sees to that)
"""

import threading
from collections.abc import Callable
from contextlib import suppress

import structlog

from qasir.errors import Conflict, QasirError
from qasir.triton import Triton
from service.models import loading
from service.models.active_model import ActiveModel
from service.models.deployment import Serving
from service.models.heartbeats import Heartbeats
from service.models.store import ModelStore
from service.search.engine import SearchEngine

FOLLOW_SECONDS = 0.25
# Triton is looked at this often where nothing has changed: it may have been started again.
LOOK_TICKS = 20

log = structlog.get_logger()


class ModelReconciler:
    """A thread that follows until it is closed."""

    def __init__(
        self, store: ModelStore, engine: SearchEngine, control: Triton, presence: Heartbeats
    ) -> None:
        self._store = store
        self._engine = engine
        self._control = control
        self._presence = presence
        self._stop = threading.Event()
        self._models: list[ActiveModel] = []
        self._read_for: Serving | None = None
        self._seen: Serving | None = None
        self._ticks = 0
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)

    def start(self) -> None:
        """Follow from now on."""
        self._thread.start()

    def close(self) -> None:
        """Follow no more."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._presence.close()
        self._control.close()

    def _run(self) -> None:
        while not self._stop.wait(FOLLOW_SECONDS):
            self._try(self._read)
            self._try(self._load)

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except QasirError as error:
            log.info("not followed", code=error.code, detail=str(error))
        except Exception:  # whatever it is, the next tick may find it mended
            log.exception("bug")

    def _read(self) -> None:
        serving = self._store.serving()
        if serving != self._read_for:
            wanted = [serving.active, *([serving.next] if serving.next else [])]
            self._models, self._read_for = [self._store.get(v) for v in wanted], serving
        self._engine.hold(self._models)
        self._presence.say(model.version for model in self._models)

    def _load(self) -> None:
        serving = self._store.serving()
        self._ticks += 1
        if serving == self._seen and self._ticks % LOOK_TICKS:
            return
        with suppress(Conflict):
            # What another process is at, or leaves undone, is seen to at the next look.
            self._seen = serving
            if not loading.follow(self._store, self._control):
                self._seen = None
