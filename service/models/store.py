"""The model versions in Triton's repository, and which of them are deployed.

A version is the four models and the ensembles of one export under one number. It exists once its
manifest does, which is written last; the next `add` removes what a crash left before that.
"""

import shutil
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from qasir.artifacts import atomic_write, sync_folder
from qasir.errors import CorruptArtifact, ModelUnavailable, NotFound
from qasir.manifest import MANIFEST_NAME, Manifest, read_manifest, verify_files
from qasir.triton import ENSEMBLES, MODELS, ensemble_name
from service.folders import StateFolders
from service.lock import locked
from service.models.deployment import DEPLOYMENT_NAME, Deployment, ModelVersion, RerankerModel
from service.models.triton_config import write_configs

GRAPH_NAME = "model.onnx"

log = structlog.get_logger()


def triton_names(version: int) -> list[str]:
    """List the Triton models of one version, in the order in which they load."""
    return [*MODELS, *(ensemble_name(name, version) for name in ENSEMBLES)]


class ModelStore:
    """The folder `models/` under the state folder; safe to share by threads and processes."""

    def __init__(self, state: Path) -> None:
        self.root = StateFolders(state.absolute()).models
        self._manifests = self.root / "manifests"
        self._lock = threading.Lock()
        self._active: tuple[tuple[int, int], ModelVersion] | None = None

    @property
    def loading_lock(self) -> Path:
        """Return the lock file of the process that loads and unloads models."""
        return self.root / "loading.lock"

    def add(self, export: Path) -> int:
        """Copy a verified export and return its version, the old one if it is there already.

        Raises:
            CorruptArtifact: a file is missing or does not match the export's manifest.
        """
        manifest = read_manifest(export)
        with locked(self.root / "lock"):
            same = [model.version for model in self.list() if model.manifest == manifest]
            return same[0] if same else self._add(export, manifest)

    def get(self, version: int) -> ModelVersion:
        """Read one version, or raise NotFound."""
        folder = self._manifests / str(version)
        if not folder.is_dir():
            raise NotFound(f"no model version {version} in {self.root}; see `qasir models list`")
        return ModelVersion(version, read_manifest(folder), folder)

    def list(self) -> list[ModelVersion]:
        """Read every complete version, oldest first.

        A version whose manifest another qasir wrote cannot be served and does not keep the others
        from being served: it is left out.
        """
        models = []
        for version in self._versions():
            try:
                models.append(self.get(version))
            except CorruptArtifact as error:
                log.warning("model unreadable", version=version, detail=str(error))
        return models

    def deployment(self) -> Deployment:
        """Read which versions are deployed; raises NotFound before the first activation."""
        path = self.root / DEPLOYMENT_NAME
        try:
            return Deployment.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise NotFound(
                f"no active model in {self.root}; run `dvc repro export`, "
                f"then `qasir models add build/export` and `qasir models activate 1`"
            ) from error
        except ValueError as error:
            raise CorruptArtifact(f"{path}: {error}; run `qasir models activate`") from error

    def active(self) -> ModelVersion:
        """Read the active version with its reranker; raises as `deployment`."""
        deployment = self.deployment()
        model = self.get(deployment.active)
        return replace(model, reranker=self._reranker(deployment, model))

    def find_active(self) -> ModelVersion:
        """Return the active version, or raise ModelUnavailable.

        It is read again only after the deployment has changed.
        """
        try:
            status = (self.root / DEPLOYMENT_NAME).stat()
            # The file is replaced, never rewritten, so these two identify its content.
            key = (status.st_ino, status.st_mtime_ns)
            with self._lock:
                if self._active is None or self._active[0] != key:
                    self._active = key, self.active()
                return self._active[1]
        except (FileNotFoundError, NotFound) as error:
            raise ModelUnavailable(
                "no model is active; run `qasir models add <export>` and `qasir models activate 1`"
            ) from error

    def activate(self, version: int) -> Deployment:
        """Make a version active whatever it lacks, or raise NotFound.

        `Rollout.activate` is for a running service.
        """
        self.get(version)
        with locked(self.root / "lock"):
            try:
                before = self.deployment()
            except (NotFound, CorruptArtifact):
                before = Deployment(active=version)
            return self._deploy(before.activate(version))

    def change(self, make: Callable[[Deployment], Deployment]) -> Deployment:
        """Replace the deployment by one made from it; raises as `deployment`.

        No other change comes in between. Triton follows once a service process reconciles it.
        """
        with locked(self.root / "lock"):
            return self._deploy(make(self.deployment()))

    def startup(self) -> Sequence[str]:
        """Write Triton's configs, and list the models that it loads when it starts."""
        deployment = self.change(lambda before: before)
        names = [name for version in deployment.loaded for name in triton_names(version)]
        return [*dict.fromkeys(names), *ENSEMBLES]

    def load_error(self, version: int) -> str | None:
        """Read why Triton could not load this version; None: it could, or has not tried."""
        path = self._error_path(version)
        return path.read_text() if path.is_file() else None

    def set_load_error(self, version: int, text: str | None) -> None:
        """Store why Triton could not load this version; None: it has."""
        if text is None:
            self._error_path(version).unlink(missing_ok=True)
        else:
            with atomic_write(self._error_path(version)) as file:
                file.write(text.encode())

    def _reranker(self, deployment: Deployment, active: ModelVersion) -> RerankerModel | None:
        if (named := deployment.reranker) is not None:
            model = self.get(named.version)
            return RerankerModel(model, model.manifest.spec(named.grid_size), named.k)
        if (hybrid := active.manifest.profile.hybrid) is None:
            return None
        return RerankerModel(active, active.manifest.spec(hybrid.grid_size), hybrid.k)

    def _deploy(self, deployment: Deployment) -> Deployment:
        # What another version of qasir wrote can no longer be served; see `list`.
        readable = {model.version for model in self.list()} | {deployment.active}
        retained = tuple(version for version in deployment.retained if version in readable)
        deployment = deployment.model_copy(update={"retained": retained})
        models = [self.get(version) for version in deployment.loaded]
        # Configs first: a process that sees the new deployment may load it at once.
        write_configs(self.root, deployment.active, models)
        with atomic_write(self.root / DEPLOYMENT_NAME) as file:
            file.write(deployment.model_dump_json(indent=2).encode() + b"\n")
        return deployment

    def _error_path(self, version: int) -> Path:
        return self.root / f"load-error-{version}.txt"

    def _versions(self) -> Sequence[int]:
        return sorted(int(path.name) for path in self._manifests.glob("[0-9]*"))

    def _add(self, export: Path, manifest: Manifest) -> int:
        staging = self.root / ".staging"
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir(parents=True)
        for name in (*manifest.files, MANIFEST_NAME):
            if not (export / name).is_file():
                raise CorruptArtifact(f"{export / name} is missing; run `dvc repro export`")
            shutil.copyfile(export / name, staging / name)
        # The copy is what Triton will run, so the copy is what is verified.
        verify_files(manifest, staging)
        version = max(self._versions(), default=0) + 1
        for model in MODELS:
            folder = self.root / model / str(version)
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            (staging / f"{model}.onnx").rename(folder / GRAPH_NAME)
            sync_folder(folder)
        self._manifests.mkdir(exist_ok=True)
        staging.rename(self._manifests / str(version))
        sync_folder(self._manifests)
        return version
