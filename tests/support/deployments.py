"""Putting a model store into the state that a test starts from, or leaves behind."""

from contextlib import suppress

from qasir.errors import Conflict
from qasir.triton import Triton
from service.models.deployment import Deployment
from service.models.reconciler import reconcile
from service.models.store import ModelStore
from tests.support.waiting import wait_for


def deploy(store: ModelStore, deployment: Deployment) -> None:
    """Replace the deployment, whatever it was."""
    store.activate(deployment.active)
    store.change(lambda _: deployment)


def reconciled(store: ModelStore, triton: Triton) -> None:
    """Wait until Triton serves the deployment; a running service may reconcile it, too."""

    def attempt() -> bool:
        with suppress(Conflict):
            return reconcile(store, triton)
        return False

    wait_for(attempt)
