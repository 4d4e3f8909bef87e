"""What a service process does beside its requests: it follows the deployment.

deployment -> embeddings of the active and the candidate version in memory, in every process
           -> Triton serves all deployed versions; one process at a time sees to that

The deployment is the desired state. A process compares it with Triton and does what is left, so
it does not matter who wrote it, or whether an earlier run was cut short.
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

import structlog

from qasir.errors import Conflict, QasirError
from qasir.triton import ENSEMBLES, MODELS, Triton, ensemble_name
from service.lock import only_one
from service.models.deployment import Deployment, Heartbeats, ModelVersion
from service.models.store import ModelStore, triton_names

TICK_SECONDS = 0.25
# Triton is looked at this often where nothing has changed: it may have been started again.
LOOK_TICKS = 20

LoadIndexes = Callable[[Sequence[ModelVersion]], object]

log = structlog.get_logger()


@dataclass
class ModelReconciler:
    """A thread that reconciles until it is closed."""

    store: ModelStore
    load_indexes: LoadIndexes
    control: Triton
    heartbeats: Heartbeats

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._models: list[ModelVersion] = []
        self._models_of: Deployment | None = None
        self._reconciled: Deployment | None = None
        self._ticks = 0
        self._thread = threading.Thread(target=self._run, name="reconciler", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End the thread and give back what it holds."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self.heartbeats.close()
        self.control.close()

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            for step in (self._index, self._load):
                try:
                    step()
                except QasirError as error:
                    log.info("not reconciled", code=error.code, detail=str(error))
                except Exception:  # the next tick tries again
                    log.exception("bug")

    def _index(self) -> None:
        deployment = self.store.deployment()
        if deployment != self._models_of:
            versions = [v for v in (deployment.active, deployment.candidate) if v is not None]
            self._models = [self.store.get(version) for version in versions]
            self._models_of = deployment
        self.load_indexes(self._models)
        self.heartbeats.publish(model.version for model in self._models)

    def _load(self) -> None:
        deployment = self.store.deployment()
        self._ticks += 1
        if deployment == self._reconciled and self._ticks % LOOK_TICKS:
            return
        # What another process does, or leaves undone, is looked at again later.
        with suppress(Conflict):
            self._reconciled = deployment
            if not reconcile(self.store, self.control):
                self._reconciled = None


def reconcile(store: ModelStore, triton: Triton) -> bool:
    """Load what is missing and unload what is not deployed; whether Triton serves all of it now.

    Raises:
        NotFound: no model has been activated.
        Conflict: another process does this at the moment.
        ModelUnavailable, InvalidConfig: Triton is not there, or the key is not its own.
    """
    with only_one(store.loading_lock, "process"):
        deployment = store.deployment()
        if not triton.ready():
            return False
        loaded = [_load(version, store, triton) for version in deployment.loaded]
        if triton.versions("rank") != [deployment.active]:
            # For people who call Triton directly: qasir itself names the version it calls.
            for name in ENSEMBLES:
                triton.load(name)
        _unload(deployment, triton)
        return all(loaded)


def _load(version: int, store: ModelStore, triton: Triton) -> bool:
    if triton.ready(version):
        store.set_load_error(version, None)
        return True
    log.info("loading models", version=version)
    try:
        for name in triton_names(version):
            triton.load(name)
    except QasirError as error:
        store.set_load_error(version, f"Triton does not load version {version}: {error}")
        log.warning("models not loaded", version=version, detail=str(error))
        return False
    store.set_load_error(version, None)
    return True


def _unload(deployment: Deployment, triton: Triton) -> None:
    surplus = set(triton.versions(MODELS[0])) - set(deployment.loaded)
    if not surplus:
        return
    log.info("unloading models", versions=sorted(surplus))
    for version in surplus:
        for name in ENSEMBLES:
            with suppress(QasirError):
                triton.unload(ensemble_name(name, version))
    # The configs no longer name these versions; the others are served without a pause.
    for name in MODELS:
        triton.load(name)
