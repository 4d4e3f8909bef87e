"""Making a running Triton serve what the store says.

Desired state is the serving file. Whoever runs this compares it with Triton and does what is
left, so it does not matter who wrote the file, or whether an earlier run was cut short.
"""

from contextlib import suppress

import structlog

from qasir.errors import QasirError
from qasir.triton import ENSEMBLES, MODELS, Triton, ensemble_name
from service.lock import only_one
from service.models.deployment import Serving
from service.models.store import ModelStore, triton_names

log = structlog.get_logger()


def follow(store: ModelStore, triton: Triton) -> bool:
    """Load what is missing, unload what nobody wants; whether Triton serves all of it now.

    One process at a time: another one's work is left to it.

    Raises:
        NotFound: no model has been activated.
        Conflict: another process is at it.
        ModelUnavailable, InvalidConfig: Triton is not there, or the key is not its own.
    """
    with only_one(store.root / "loading.lock", "process"):
        return _follow(store.serving(), store, triton)


def _follow(serving: Serving, store: ModelStore, triton: Triton) -> bool:
    if not triton.ready():
        return False
    served = [_load(version, store, triton) for version in serving.versions]
    if triton.versions("rank") != [serving.active]:
        # For people who call Triton directly: qasir itself asks for versions by name.
        for name in ENSEMBLES:
            triton.load(name)
    _unload(serving, triton)
    return all(served)


def _load(version: int, store: ModelStore, triton: Triton) -> bool:
    if triton.ready(version):
        store.set_trouble(version, None)
        return True
    log.info("loading models", version=version)
    try:
        for name in triton_names(version):
            triton.load(name)
    except QasirError as error:
        store.set_trouble(version, f"Triton does not load version {version}: {error}")
        log.warning("models not loaded", version=version, detail=str(error))
        return False
    store.set_trouble(version, None)
    return True


def _unload(serving: Serving, triton: Triton) -> None:
    surplus = set(triton.versions(MODELS[0])) - set(serving.versions)
    if not surplus:
        return
    log.info("unloading models", versions=sorted(surplus))
    for version in surplus:
        for name in ENSEMBLES:
            with suppress(QasirError):
                triton.unload(ensemble_name(name, version))
    # The configs no longer name these versions; the others go on serving meanwhile.
    for name in MODELS:
        triton.load(name)
