"""Exported models as numbered sets in Triton's repository, and which of them is active.

A set is the four models and the ensembles of one export under one version number. It is
there when its manifest is, which is written last; what a crash leaves behind before that
is removed by the next `add`.
"""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from qasir.artifacts import atomic_write, sync_folder
from qasir.errors import CorruptArtifact, NotFound
from qasir.manifest import MANIFEST_NAME, Manifest, read_manifest, verify_files
from qasir.triton import ENSEMBLES, MODELS, ensemble_name
from service.folders import StateFolders
from service.lock import locked
from service.models.active_model import ActiveModel, RerankerModel
from service.models.deployment import SERVING_NAME, Serving
from service.models.triton_config import write_configs

GRAPH_NAME = "model.onnx"

log = structlog.get_logger()


def triton_names(version: int) -> list[str]:
    """The Triton models that one set needs, in the order in which they load."""
    return [*MODELS, *(ensemble_name(name, version) for name in ENSEMBLES)]


class ModelStore:
    """The folder `models/` under the state folder; several processes may use it at once."""

    def __init__(self, state: Path) -> None:
        self.root = StateFolders(state.absolute()).models
        self._manifests = self.root / "manifests"

    def add(self, export: Path) -> int:
        """Copy a verified export; the version of its set, an old one if it is there already.

        Raises:
            CorruptArtifact: a file is missing or does not match the export's manifest.
        """
        manifest = read_manifest(export)
        with locked(self.root / "lock"):
            known = [model.version for model in self.list() if model.manifest == manifest]
            return known[0] if known else self._add(export, manifest)

    def get(self, version: int) -> ActiveModel:
        """The set of this version.

        Raises:
            NotFound: there is none.
        """
        folder = self._manifests / str(version)
        if not folder.is_dir():
            raise NotFound(f"no model version {version} in {self.root}; see `qasir models list`")
        return ActiveModel(version, read_manifest(folder), folder)

    def serving(self) -> Serving:
        """What Triton is to load.

        Raises:
            NotFound: no model has been activated.
        """
        path = self.root / SERVING_NAME
        try:
            return Serving.model_validate_json(path.read_bytes())
        except FileNotFoundError as error:
            raise NotFound(
                f"no active model in {self.root}; run `dvc pull` or `dvc repro`, "
                f"then `qasir models add build/export` and `qasir models activate 1`"
            ) from error
        except ValueError as error:
            raise CorruptArtifact(f"{path}: {error}; run `qasir models activate`") from error

    def active(self) -> ActiveModel:
        """The active set, with what scores beside it in mode hybrid.

        Raises:
            NotFound: no model has been activated.
        """
        serving = self.serving()
        model = self.get(serving.active)
        return replace(model, fine=self._fine(serving, model))

    def startup(self) -> list[str]:
        """The Triton models to load at start, configs freshly written.

        Raises:
            NotFound: no model has been activated.
        """
        serving = self.change(lambda before: before)
        names = [name for version in serving.versions for name in triton_names(version)]
        return [*dict.fromkeys(names), *ENSEMBLES]

    def serve(self, serving: Serving) -> Serving:
        """Say what is served from now on, whatever was before."""
        with locked(self.root / "lock"):
            return self._serve(serving)

    def change(self, make: Callable[[Serving], Serving]) -> Serving:
        """Say what is served from now on, made from what was served before, and by nobody else
        in between.

        A running Triton changes nothing until it is told to; see `service.models.loading`.

        Raises:
            NotFound: no model has been activated.
        """
        with locked(self.root / "lock"):
            return self._serve(make(self.serving()))

    def activate(self, version: int) -> Serving:
        """Make a version active at once, whatever it lacks; see `Generations.activate`."""
        self.get(version)
        with locked(self.root / "lock"):
            try:
                before = self.serving()
            except (NotFound, CorruptArtifact):
                before = Serving(active=version)
            return self._serve(before.activated(version))

    def load_error(self, version: int) -> str | None:
        """Why Triton does not serve this version, if it was told to and could not."""
        path = self._trouble(version)
        return path.read_text() if path.is_file() else None

    def set_trouble(self, version: int, text: str | None) -> None:
        """Keep why Triton does not serve this version; None: it does."""
        if text is None:
            self._trouble(version).unlink(missing_ok=True)
        else:
            with atomic_write(self._trouble(version)) as file:
                file.write(text.encode())

    def list(self) -> list[ActiveModel]:
        """Every complete set, oldest first.

        One whose manifest another version of qasir wrote cannot be served, and is no reason
        not to serve the others: it is left out.
        """
        found = []
        for version in self._versions():
            try:
                found.append(self.get(version))
            except CorruptArtifact as error:
                log.warning("model unreadable", version=version, detail=str(error))
        return found

    def _fine(self, serving: Serving, active: ActiveModel) -> RerankerModel | None:
        if serving.fine is not None:
            model = self.get(serving.fine.version)
            spec = model.manifest.spec(serving.fine.grid_size)
            return RerankerModel(model, spec, serving.fine.k)
        hybrid = active.manifest.profile.hybrid
        if hybrid is None:
            return None
        return RerankerModel(active, active.manifest.spec(hybrid.grid_size), hybrid.k)

    def _serve(self, serving: Serving) -> Serving:
        # What another version of qasir wrote can be kept no longer; see `list`.
        known = {model.version for model in self.list()} | {serving.active}
        beside = tuple(version for version in serving.beside if version in known)
        serving = serving.model_copy(update={"beside": beside})
        models = [self.get(version) for version in serving.versions]
        # Configs first: who sees the new version in the file may load it at once.
        write_configs(self.root, serving.active, models)
        with atomic_write(self.root / SERVING_NAME) as file:
            file.write(serving.model_dump_json(indent=2).encode() + b"\n")
        return serving

    def _trouble(self, version: int) -> Path:
        return self.root / f"trouble-{version}.txt"

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
            place = self.root / model / str(version)
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir(parents=True)
            (staging / f"{model}.onnx").rename(place / GRAPH_NAME)
            sync_folder(place)
        self._manifests.mkdir(exist_ok=True)
        staging.rename(self._manifests / str(version))
        sync_folder(self._manifests)
        return version
