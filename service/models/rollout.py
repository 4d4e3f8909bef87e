"""The life of a model version beside the one that answers searches.

    add -> build -> (worker encodes every video) -> ready -> activate -> previous -> retire

The deployment says which version is active. It is replaced while no video can be committed: so an
activation loses no video from search, and every process switches at the same moment.
"""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from tenacity import RetryError, Retrying, retry_if_result, stop_after_delay, wait_fixed

from qasir.contract.models import ActivateModelRequest, Model, ModelState
from qasir.contract.models import Coverage as ModelCoverage
from qasir.errors import Conflict, NotFound
from qasir.manifest import EmbeddingSpec
from qasir.triton import Triton
from service.catalogue.backfills import Coverage
from service.catalogue.catalogue import Catalogue
from service.lock import locked
from service.models.deployment import Deployment, ModelVersion, missing
from service.models.store import ModelStore
from service.settings import ModelSettings, Settings
from service.storage.media import MediaStore

NOTHING_MORE = ActivateModelRequest()
PAUSE_SECONDS = 0.05

log = structlog.get_logger()


@contextmanager
def open_rollout(settings: Settings) -> Iterator["Rollout"]:
    """Open the state folder for a command about models; no service need run."""
    folders, store = settings.folders, ModelStore(settings.state)
    with (
        closing(Catalogue(folders.catalogue)) as catalogue,
        Triton(settings.triton_url, deadline=settings.triton_seconds) as triton,
    ):
        media = MediaStore(folders, settings.max_upload_bytes, settings.disk_reserve_bytes)
        yield Rollout(settings, catalogue, media, store, triton)


@dataclass
class Rollout:
    """Builds, activates and retires the versions of a store; safe to share by threads and
    processes."""

    settings: ModelSettings
    catalogue: Catalogue
    media: MediaStore
    store: ModelStore
    triton: Triton

    def list(self) -> Sequence[Model]:
        """Describe every version of the store, oldest first."""
        deployment = self._deployment()
        return [self._describe(model, deployment) for model in self.store.list()]

    def get(self, version: int) -> Model:
        """Describe one version, or raise NotFound."""
        return self._describe(self.store.get(version), self._deployment())

    def counts(self) -> Iterator[tuple[ModelState, Coverage]]:
        """Count the videos of active and retained versions, by state; for metrics."""
        deployment = self._deployment()
        indexed = [m for m in self.store.list() if deployment and m.version in deployment.indexed]
        for model in indexed:
            coverage = self.catalogue.backfills.coverage(model.manifest.specs)
            yield _state(model.version, deployment, coverage), coverage

    def build(self, version: int, *, activate: bool = False) -> Model:
        """Retain a version: the worker encodes the videos it lacks, and retries those that failed.

        activate: make it active as soon as no video is missing. The very first is active at once.

        Raises:
            NotFound: there is no such version.
            Conflict: too many versions are retained.
        """
        model = self.store.get(version)
        if self._deployment() is None:
            self.store.activate(version)
        self.store.change(lambda deployment: self._retain(deployment, version, activate))
        self.catalogue.backfills.retry(model.manifest.specs)
        if activate and not self.catalogue.backfills.coverage(model.manifest.specs).missing:
            return self.activate(version)
        return self.get(version)

    def activate(self, version: int, request: ActivateModelRequest = NOTHING_MORE) -> Model:
        """Answer every search that begins from now on with this version.

        The version before is retained, so activating it again goes back. Every process loads the
        new embeddings first; one that takes longer than `switch_seconds` loads them in a search.

        Raises:
            NotFound: there is no such version, or no such reranker.
            Conflict: it is not retained, lacks videos, or Triton does not serve it yet.
        """
        model = self.store.get(version)
        if (reranker := request.reranker) is not None:
            self.store.get(reranker.version).manifest.spec(reranker.grid_size)
        # Held so that the version cannot be retired meanwhile.
        with locked(self.store.root / "activation.lock"):
            if self._deployment() is None:
                self.store.activate(version)
            self._check(version, request, self.catalogue.backfills.coverage(model.manifest.specs))
            self._check_loaded(version)
            self._announce(version)
            specs = model.manifest.specs
            self.catalogue.backfills.switch(specs, lambda now: self._switch(version, request, now))
        return self.get(version)

    def retire(self, version: int) -> None:
        """Retain a version no longer and remove its embeddings; its models stay in the store.

        Raises:
            NotFound: there is no such version.
            Conflict: it serves searches.
        """
        model = self.store.get(version)
        with locked(self.store.root / "activation.lock"):
            deployment = self.store.change(lambda deployment: _without(deployment, version))
        needed = self._needed(deployment)
        for file in self.catalogue.vector_files.remove(model.manifest.fingerprint, needed):
            self.media.vectors(file.path).unlink(missing_ok=True)

    def _needed(self, deployment: Deployment) -> Sequence[EmbeddingSpec]:
        """List the specs that searches of the deployed versions read."""
        loaded = [m.manifest for m in self.store.list() if m.version in deployment.loaded]
        specs = [spec for manifest in loaded for spec in manifest.specs]
        specs += [manifest.reranker_spec for manifest in loaded if manifest.reranker_spec]
        if (reranker := deployment.reranker) is not None:
            manifest = self.store.get(reranker.version).manifest
            specs.append(manifest.spec(reranker.grid_size))
        return specs

    def _deployment(self) -> Deployment | None:
        try:
            return self.store.deployment()
        except NotFound:
            return None

    def _describe(self, model: ModelVersion, deployment: Deployment | None) -> Model:
        manifest, coverage = model.manifest, self.catalogue.backfills.coverage(model.manifest.specs)
        failure = self.catalogue.backfills.error(manifest.specs) if coverage.failed else None
        return Model(
            name=manifest.name,
            version=model.version,
            state=_state(model.version, deployment, coverage),
            backbone=manifest.backbone,
            variant=manifest.variant,
            fingerprint=manifest.fingerprint,
            grid_sizes=list(manifest.profile.grid_sizes),
            fps=manifest.profile.fps,
            coverage=ModelCoverage(
                video_count=coverage.total,
                embedded_count=coverage.done,
                failed_count=coverage.failed,
            ),
            created_at=datetime.fromtimestamp(model.tokenizer.stat().st_mtime, UTC),
            error=self.store.load_error(model.version) or failure,
        )

    def _retain(self, deployment: Deployment, version: int, activate: bool) -> Deployment:
        indexed, limit = {*deployment.indexed, version}, self.settings.max_model_versions
        if len(indexed) > limit:
            others = [other for other in deployment.retained if other != version]
            raise Conflict(
                f"{len(deployment.indexed)} model versions are retained, the limit is {limit}; "
                f"retire one of {others} first, or raise QASIR_MAX_MODEL_VERSIONS"
            )
        retained = tuple(sorted(indexed - {deployment.active}))
        pending = version if activate else deployment.pending
        return deployment.model_copy(update={"retained": retained, "pending": pending})

    def _check(self, version: int, request: ActivateModelRequest, coverage: Coverage) -> None:
        deployment = self.store.deployment()
        if version == deployment.active:
            return
        if version not in deployment.indexed:
            # Triton may still answer for a version that was just retired, while it unloads it.
            raise Conflict(f"model version {version} is not retained; build it first")
        if coverage.missing > request.max_missing:
            raise Conflict(
                f"model version {version} holds {coverage.done} of {coverage.total} videos; "
                f"{_next_step(coverage)}, or activate it with max_missing {coverage.missing}: "
                f"searches miss these until then"
            )

    def _check_loaded(self, version: int) -> None:
        # Not while a process unloads models: it may have begun before the version was retained.
        with locked(self.store.loading_lock):
            if not self.triton.ready() or self.triton.ready(version):
                return
        reason = self.store.load_error(version) or "a service process loads it; try again soon"
        raise Conflict(f"Triton does not serve model version {version} yet; {reason}")

    def _announce(self, version: int) -> None:
        self.store.change(lambda before: before.model_copy(update={"candidate": version}))
        folder, seconds = self.settings.folders.searching, self.settings.switch_seconds
        wait_until_loaded = Retrying(
            retry=retry_if_result(bool),
            wait=wait_fixed(PAUSE_SECONDS),
            stop=stop_after_delay(seconds),
        )
        try:
            wait_until_loaded(missing, folder, version)
        except RetryError:
            log.warning("index not in memory everywhere", version=version, waited=seconds)

    def _switch(self, version: int, request: ActivateModelRequest, coverage: Coverage) -> None:
        # Checked again, because nothing can be committed until the deployment is replaced.
        try:
            self._check(version, request, coverage)
        except Conflict:
            self.store.change(lambda before: before.model_copy(update={"candidate": None}))
            raise
        self.store.change(lambda before: before.activate(version, request.reranker))


def _next_step(coverage: Coverage) -> str:
    waiting = [f"wait for {coverage.waiting} that are being encoded"] if coverage.waiting else []
    failed = [f"build it again to retry {coverage.failed} that failed"] if coverage.failed else []
    return ", ".join([*waiting, *failed])


def _without(deployment: Deployment, version: int) -> Deployment:
    reranker = deployment.reranker
    if version == deployment.active or (reranker and reranker.version == version):
        raise Conflict(f"model version {version} serves searches; activate another one first")
    return deployment.retire(version)


def _state(version: int, deployment: Deployment | None, coverage: Coverage) -> ModelState:
    if deployment is None or version not in deployment.indexed:
        return "stored"
    if version == deployment.active:
        return "active"
    if coverage.waiting:
        return "building"
    return "previous" if version == deployment.previous else "ready"


def coverage_line(model: Model) -> str:
    """Say how much of the library a version covers."""
    coverage = model.coverage
    failed = f", {coverage.failed_count} failed" if coverage.failed_count else ""
    videos = f"{coverage.embedded_count} of {coverage.video_count} videos{failed}"
    return f"version {model.version} is {model.state}: {videos}; see `qasir models list`"
