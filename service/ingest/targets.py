"""Which models the worker encodes for: the active one, its reranker, and those retained beside."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import structlog

from qasir.errors import QasirError
from service.catalogue.backfills import Backfills, Target
from service.ingest.encode import EncodingTriton
from service.models.deployment import Deployment, ModelVersion
from service.models.rollout import Rollout
from service.models.store import ModelStore

log = structlog.get_logger()


@dataclass(frozen=True)
class ModelTargets:
    """The backfills of a deployment, best first, and the models they need by version."""

    targets: tuple[Target, ...] = ()
    models: Mapping[int, ModelVersion] = field(default_factory=dict)


@dataclass
class WorkerModels:
    """Reads the deployment for the worker, and activates a version that is complete."""

    store: ModelStore
    rollout: Rollout
    backfills: Backfills
    triton: EncodingTriton
    _read: tuple[Deployment, ModelTargets] | None = None

    def active(self) -> ModelVersion:
        """Return the model that ingests use, or raise ModelUnavailable."""
        return self.store.find_active()

    def is_served(self, version: int) -> bool:
        return self.triton.ready(version)

    def targets(self) -> ModelTargets:
        """Return what backfills encode for; nothing while no model is active."""
        try:
            # In this order: a deployment that is replaced in between is read again next time.
            deployment, active = self.store.deployment(), self.active()
        except QasirError:
            # No model is active, or another version of qasir wrote it; searches report either.
            self._read = None
            return ModelTargets()
        if self._read is None or self._read[0] != deployment:
            models = {model.version: model for model in self.store.list()}
            models[active.version] = active
            if active.reranker is not None:
                models[active.reranker.model.version] = active.reranker.model
            targets = dict.fromkeys(_ordered(active, deployment, models))
            self._read = deployment, ModelTargets(tuple(targets), models)
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


def _ordered(
    active: ModelVersion, deployment: Deployment, models: Mapping[int, ModelVersion]
) -> Iterator[Target]:
    yield Target(active.version, tuple(active.manifest.specs))
    if (reranker := active.reranker) is not None:
        yield Target(reranker.model.version, (reranker.spec,))
    pending = [] if deployment.pending is None else [deployment.pending]
    for version in (*pending, *deployment.indexed):
        if (model := models.get(version)) is not None:
            yield Target(version, tuple(model.manifest.specs))
