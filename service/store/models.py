"""Exported models as numbered sets in Triton's repository, and which of them is active.

A set is the four models and the ensembles of one export under one version number. It is
there when its manifest is, which is written last; what a crash leaves behind before that
is removed by the next `add`.
"""

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from qasir.artifacts import sync_folder, whole_file
from qasir.config import Strict
from qasir.errors import CorruptArtifact, NotFound
from qasir.manifest import MANIFEST_NAME, Manifest, read_manifest, verify_files
from qasir.triton import ENSEMBLES, MODELS, ensemble_name
from service.store.active_model import ActiveModel
from service.store.folders import StateFolders
from service.store.lock import locked
from service.store.triton_configs import write_configs

GRAPH_NAME = "model.onnx"
SERVING_NAME = "serving.json"

log = structlog.get_logger()


class Serving(Strict):
    """What Triton loads: the active version, and those loaded beside it."""

    active: int
    beside: tuple[int, ...] = ()

    @property
    def versions(self) -> tuple[int, ...]:
        return tuple(sorted({self.active, *self.beside}))


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
        """The active set.

        Raises:
            NotFound: no model has been activated.
        """
        return self.get(self.serving().active)

    def startup(self) -> list[str]:
        """The Triton models to load at start, configs freshly written.

        Raises:
            NotFound: no model has been activated.
        """
        serving = self.serving()
        self.serve(serving.active, *serving.beside)
        names = [name for version in serving.versions for name in triton_names(version)]
        return [*dict.fromkeys(names), *ENSEMBLES]

    def serve(self, active: int, *beside: int) -> Serving:
        """Say what Triton loads from now on, and write its configs accordingly.

        A running Triton changes nothing until it is told to load; see `activate`.
        """
        serving = Serving(active=active, beside=tuple(beside))
        models = [self.get(version) for version in serving.versions]
        with locked(self.root / "lock"):
            with whole_file(self.root / SERVING_NAME) as file:
                file.write(serving.model_dump_json().encode() + b"\n")
            write_configs(self.root, active, models)
        return serving

    def activate(self, version: int, load: Callable[[str], None] | None = None) -> None:
        """Make a version the active one; `load` is a running Triton's, by model name.

        Triton serves both versions before `active()` changes and keeps the old one until it
        starts again, so whoever asked for either is served.
        """
        self.get(version)
        if load is None:
            self.serve(version)
            return
        before = self.serving()
        self.serve(before.active, *before.beside, version)
        for name in triton_names(version):
            load(name)
        self.serve(version, *before.versions)
        # Loading an ensemble loads its steps as their configs say: the old version is in them.
        for name in ENSEMBLES:
            load(name)
        self.serve(version)

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
