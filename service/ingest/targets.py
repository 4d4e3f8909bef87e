"""Which models the worker encodes for: the active one, its reranker, and those retained beside."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from qasir.errors import QasirError
from service.catalogue.backfills import Backfills, Target
from service.models.deployment import Deployment, ModelVersion
from service.models.rollout import Rollout
from service.models.store import ModelStore

log = structlog.get_logger()


@dataclass(frozen=True)
class ModelTargets:
    """The backfills of a deployment, best first, and the models they need by version."""

    targets: tuple[Target, ...] = ()
    models: Mapping[int, ModelVersion] = field(default_factory=dict)


class ServedModels(Protocol):
    """The part of `qasir.triton.Triton` that says what it serves."""

    def ready(self, version: int | None = None) -> bool:
        """Whether this version can be called."""


class WorkerModels:
    """Reads the deployment for the worker, and activates a version that is complete."""

    def __init__(
        self, store: ModelStore, rollout: Rollout, backfills: Backfills, triton: ServedModels
    ) -> None:
        self._store = store
        self._rollout = rollout
        self._backfills = backfills
        self._triton = triton
        self._read: tuple[Deployment, ModelTargets] | None = None

    def active(self) -> ModelVersion:
        """The model that ingests use.

        Raises:
            ModelUnavailable: no model is active.
        """
        return self._store.find_active()

    def is_served(self, version: int) -> bool:
        """Whether Triton serves this version."""
        return self._triton.ready(version)

    def targets(self) -> ModelTargets:
        """What backfills encode for; nothing while no model is active."""
        try:
            # In this order: a deployment that is replaced in between is read again next time.
            deployment, active = self._store.deployment(), self.active()
        except QasirError:
            # No model is active, or another version of qasir wrote it; searches report either.
            self._read = None
            return ModelTargets()
        if self._read is None or self._read[0] != deployment:
            self._read = deployment, self._targets(active, deployment)
        return self._read[1]

    def activate_pending(self) -> bool:
        """Activate the version that was to follow once no video lacks it; whether it was."""
        version = None if self._read is None else self._read[0].pending
        if version is None:
            return False
        try:
            specs = self._store.get(version).manifest.specs
            if self._backfills.coverage(specs).missing:
                return False
            self._rollout.activate(version)
        except QasirError as error:
            log.info("not activated", version=version, code=error.code, detail=str(error))
            return False
        log.info("activated", version=version)
        return True

    def _targets(self, active: ModelVersion, deployment: Deployment) -> ModelTargets:
        stored = {model.version: model for model in self._store.list()} | {active.version: active}
        reranker = active.reranker
        if reranker is not None:
            stored[reranker.model.version] = reranker.model
        targets = dict.fromkeys(_ordered(active, deployment, stored))
        return ModelTargets(tuple(targets), stored)


def _ordered(
    active: ModelVersion, deployment: Deployment, stored: dict[int, ModelVersion]
) -> Iterator[Target]:
    yield Target(active.version, tuple(active.manifest.specs))
    if (reranker := active.reranker) is not None:
        yield Target(reranker.model.version, (reranker.spec,))
    pending = [] if deployment.pending is None else [deployment.pending]
    for version in (*pending, *deployment.indexed):
        if (model := stored.get(version)) is not None:
            yield Target(version, tuple(model.manifest.specs))
