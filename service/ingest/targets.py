"""Which models the worker encodes for: the active one, its reranker, and those retained beside."""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from qasir.errors import QasirError
from service.catalogue.backfills import Backfills, Target
from service.ingest.encode import EncodingTriton
from service.models.deployment import Deployment, ModelVersion
from service.models.rollout import Rollout
from service.models.store import ModelStore

log = structlog.get_logger()


@dataclass
class WorkerModels:
    """Reads the deployment for the worker, and activates a version that is complete."""

    store: ModelStore
    rollout: Rollout
    backfills: Backfills
    triton: EncodingTriton
    _read: tuple[Deployment, tuple[Target, ...]] | None = None

    def active(self) -> ModelVersion:
        """Return the model that ingests use, or raise ModelUnavailable."""
        return self.store.find_active()

    def get(self, version: int) -> ModelVersion:
        return self.store.get(version)

    def is_served(self, version: int) -> bool:
        return self.triton.ready(version)

    def targets(self) -> tuple[Target, ...]:
        """Return what backfills encode for, best first; nothing while no model is active."""
        try:
            # In this order: a deployment that is replaced in between is read again next time.
            deployment, active = self.store.deployment(), self.active()
        except QasirError:
            # No model is active, or another version of qasir wrote it; searches report either.
            self._read = None
            return ()
        if self._read is None or self._read[0] != deployment:
            self._read = deployment, tuple(dict.fromkeys(self._ordered(active, deployment)))
        return self._read[1]

    def activate_pending(self) -> bool:
        """Activate the pending version if no video lacks it; return whether it was activated."""
        version = None if self._read is None else self._read[0].pending
        if version is None:
            return False
        try:
            if self.backfills.coverage(self.store.get(version).manifest.specs).missing:
                return False
            self.rollout.activate(version)
        except QasirError as error:
            log.info("not activated", version=version, code=error.code, detail=str(error))
            return False
        log.info("activated", version=version)
        return True

    def _ordered(self, active: ModelVersion, deployment: Deployment) -> Iterator[Target]:
        yield Target(active.version, active.manifest.specs)
        if (reranker := active.reranker) is not None:
            yield Target(reranker.model.version, (reranker.spec,))
        # Without those that another version of qasir wrote.
        stored = {model.version: model for model in self.store.list()}
        for version in (deployment.pending, *deployment.indexed):
            if version in stored:
                yield Target(version, stored[version].manifest.specs)
