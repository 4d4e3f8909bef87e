"""A model's spec: what it is made of, what it can read, and its fingerprint.

Vectors of two models must never meet in one index. So the fingerprint covers what
changes a vector (weights, preprocessing, D, W), an index records it, and whoever
loads one compares. Branches and the profile change scores, not vectors: they stay outside.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from qasir.artifacts import atomic_write, sha256_of
from qasir.config import GridSize, Hybrid, IndexUnit, Strict, Variant
from qasir.errors import CorruptArtifact, FingerprintMismatch, UnsupportedGrid

MANIFEST_NAME = "manifest.json"


class Preprocessing(Strict):
    """How frames become super images, and cells are cut out of what an encoder sees in them.

    One implementation exists: `qasir.video`, `qasir.super_images` and `qasir.modeling.cells`;
    these words change whenever its output does.
    """

    sampling: str = "interval-midpoint"
    fit: str = "stretch"
    resize: str = "area"
    color: str = "rgb"
    padding: str = "black"
    cells: str = "area"


class TokenizerSpec(Strict):
    """How text is padded: to the smallest of `buckets` that fits, never past the last."""

    pad_id: int
    buckets: tuple[int, ...] = Field(min_length=1)


class ScoreFusion(Strict):
    """How a score is made of its two branches, whole super images and their cells.

    score = w x A(q, super images; tau_s) + (1 - w) x A(q, real cells; tau_c), with
    w = super_image_weight; A is `qasir.scoring`'s attention score.
    """

    super_image_weight: float = Field(ge=0, le=1)
    super_image_tau: float = Field(gt=0)
    cell_tau: float = Field(gt=0)

    def tau(self, unit: IndexUnit) -> float:
        """The temperature of one branch alone, which recall over that unit uses."""
        return self.cell_tau if unit == "cell" else self.super_image_tau


class Profile(Strict):
    """What a service indexes and how it recalls unless a request says otherwise."""

    grid_sizes: tuple[GridSize, ...] = Field(min_length=1)
    fps: float
    index_unit: IndexUnit
    hybrid: Hybrid | None = None


class KnownText(Strict):
    """A sentence and the unit vector [D] that the exported text encoder is to give it."""

    text: str = Field(min_length=1)
    vector: tuple[float, ...]


class EmbeddingSpec(Strict):
    """What an index of vectors was made with."""

    fingerprint: str
    grid_size: int
    resolution: int
    fps: float


class Manifest(Strict):
    """One exported model: towers, scorer, tokenizer and their digests.

    dim: D of units and queries; grids: R in pixels by N; branches: one for every N of grids;
    known_texts: what a served model is recognised by, empty in exports of earlier versions.
    """

    name: str
    backbone: str
    variant: Variant
    weights: str
    dim: int
    window: int
    window_overlap: int
    grids: dict[GridSize, int]
    branches: dict[GridSize, ScoreFusion]
    fps: tuple[float, ...]
    preprocessing: Preprocessing
    tokenizer: TokenizerSpec
    profile: Profile
    files: dict[str, str]
    known_texts: tuple[KnownText, ...] = ()

    @model_validator(mode="after")
    def _branches_fit_grids(self) -> "Manifest":
        if self.branches.keys() != self.grids.keys():
            raise ValueError(
                f"branches for N {sorted(self.branches)} and grids for N {sorted(self.grids)}: "
                f"each grid size needs one of both"
            )
        return self

    @model_validator(mode="after")
    def _known_texts_fit_dim(self) -> "Manifest":
        if wrong := [known.text for known in self.known_texts if len(known.vector) != self.dim]:
            raise ValueError(f"vector of known text '{wrong[0]}': needs D = {self.dim} numbers")
        return self

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits over (weights, preprocessing, D, W)."""
        return fingerprint(self.weights, self.preprocessing, self.dim, self.window)

    def spec(self, grid_size: int, fps: float | None = None) -> EmbeddingSpec:
        """The spec of an index made with this model.

        Raises:
            UnsupportedGrid: the manifest lists neither this grid size nor this fps.
        """
        wanted = self.profile.fps if fps is None else fps
        if grid_size not in self.grids or wanted not in self.fps:
            raise UnsupportedGrid(
                f"grid size {grid_size} at {wanted} fps: model '{self.name}' supports grid sizes "
                f"{sorted(self.grids)} at {list(self.fps)} fps; choose one of them or export again"
            )
        return EmbeddingSpec(
            fingerprint=self.fingerprint,
            grid_size=grid_size,
            resolution=self.grids[grid_size],
            fps=wanted,
        )

    @property
    def specs(self) -> tuple[EmbeddingSpec, ...]:
        """One for every grid size that the profile indexes."""
        return tuple(self.spec(n) for n in self.profile.grid_sizes)

    @property
    def reranker_spec(self) -> EmbeddingSpec | None:
        """What mode hybrid scores with, where the profile has that mode."""
        fine = self.profile.hybrid
        return None if fine is None else self.spec(fine.grid_size)

    def check(self, spec: EmbeddingSpec) -> None:
        """Refuse an index that another model made, or made with other N, R or fps.

        Raises:
            FingerprintMismatch: the weights, preprocessing, D or W differ.
            UnsupportedGrid: the model does not read this N, R or fps.
        """
        if spec.fingerprint != self.fingerprint:
            raise FingerprintMismatch(
                f"index made by model {spec.fingerprint}, this is model {self.fingerprint} "
                f"('{self.name}'); index the videos again or activate the model that made it"
            )
        if self.grids.get(spec.grid_size) != spec.resolution or spec.fps not in self.fps:
            raise UnsupportedGrid(
                f"index has N {spec.grid_size}, R {spec.resolution}, fps {spec.fps}; "
                f"model '{self.name}' supports N -> R {self.grids} at {list(self.fps)} fps"
            )


def fingerprint(weights: str, preprocessing: Preprocessing, dim: int, window: int) -> str:
    """Sixteen hex digits that change with anything that changes a vector."""
    facts = [weights, preprocessing.model_dump(), dim, window]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json` into a folder, whole or not at all."""
    with atomic_write(folder / MANIFEST_NAME) as file:
        file.write(manifest.model_dump_json(indent=2).encode() + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Read `manifest.json` of an exported model.

    Raises:
        CorruptArtifact: the file is missing or does not parse.
    """
    path = folder / MANIFEST_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise CorruptArtifact(f"no {MANIFEST_NAME} in {folder}; run `dvc repro export`") from error
    except ValidationError as error:
        raise CorruptArtifact(
            f"{path}: {error}; export the model again with this version of qasir"
        ) from error


def verify_files(manifest: Manifest, folder: Path) -> None:
    """Compare every file the manifest names with its digest.

    Raises:
        CorruptArtifact: a file is missing or differs.
    """
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CorruptArtifact(f"{path} is missing; run `dvc repro export` or `dvc pull`")
        if (found := sha256_of(path)) != digest:
            raise CorruptArtifact(f"{path} has SHA-256 {found}, its manifest says {digest}")
