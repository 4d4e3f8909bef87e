"""The manifest of an exported model, its fingerprint, and the spec of embeddings made with it.

Vectors of two models must never meet in one index. The fingerprint therefore covers whatever
changes a vector (weights, preprocessing, D, W), every vector file and index records it, and
`Index.put` compares. Branches and the profile change scores, not vectors, and are left out.
"""

import hashlib
import json
from functools import cached_property
from pathlib import Path

from pydantic import Field, ValidationError, model_validator

from qasir.artifacts import atomic_write, sha256_of
from qasir.config import GridSize, HybridParams, IndexUnit, Strict, Variant
from qasir.errors import CorruptArtifact, UnsupportedGrid

MANIFEST_NAME = "manifest.json"


class Preprocessing(Strict):
    """How frames become super images, and how cells are pooled from an encoder's output.

    There is one implementation: `qasir.video`, `qasir.super_images` and `qasir.modeling.cells`.
    Change these values whenever its output changes, so that the fingerprint changes too.
    """

    sampling: str = "interval-midpoint"
    fit: str = "stretch"
    resize: str = "area"
    color: str = "rgb"
    padding: str = "black"
    cells: str = "area"


class TokenizerSpec(Strict):
    """How text is padded: to the smallest bucket that fits; longer text is cut at the last one."""

    pad_id: int
    buckets: tuple[int, ...] = Field(min_length=1)


class ScoreFusion(Strict):
    """How the scores of the two branches, super images and cells, become one.

    score = w x A(q, super images; tau_s) + (1 - w) x A(q, real cells; tau_c), with
    w = super_image_weight and the attention score A of `qasir.scoring`.
    """

    super_image_weight: float = Field(ge=0, le=1)
    super_image_tau: float = Field(gt=0)
    cell_tau: float = Field(gt=0)

    def tau(self, unit: IndexUnit) -> float:
        """Return the temperature of one branch, which recall over this unit uses."""
        return self.cell_tau if unit == "cell" else self.super_image_tau


class Profile(Strict):
    """What the service indexes, and how it searches unless a request says otherwise."""

    grid_sizes: tuple[GridSize, ...] = Field(min_length=1)
    fps: float
    index_unit: IndexUnit
    hybrid: HybridParams | None = None


class KnownText(Strict):
    """A sentence and the unit vector [D] that the exported text encoder returns for it."""

    text: str = Field(min_length=1)
    vector: tuple[float, ...]


class EmbeddingSpec(Strict):
    """What embeddings were made with: only those of equal specs may share an index."""

    fingerprint: str
    grid_size: int
    resolution: int
    fps: float


class Manifest(Strict):
    """One exported model: towers, scorer, tokenizer and their digests.

    dim: D of embeddings and queries; grids: R in pixels by N; branches: one for every N of
    grids; known_texts: what the canary checks a served model by, empty in old exports.
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
    def _parts_fit(self) -> "Manifest":
        if self.branches.keys() != self.grids.keys():
            raise ValueError(
                f"branches for N {sorted(self.branches)} and grids for N {sorted(self.grids)}: "
                f"each grid size needs both"
            )
        if wrong := [item.text for item in self.known_texts if len(item.vector) != self.dim]:
            raise ValueError(f"vector of known text '{wrong[0]}': needs D = {self.dim} numbers")
        return self

    @cached_property
    def fingerprint(self) -> str:
        """Sixteen hex digits that change with weights, preprocessing, D or W."""
        return fingerprint(self.weights, self.preprocessing, self.dim, self.window)

    def spec(self, grid_size: int, fps: float | None = None) -> EmbeddingSpec:
        """Return the spec of embeddings at this grid size and fps (default: the profile's).

        Raises:
            UnsupportedGrid: the manifest does not list this grid size or this fps.
        """
        rate = self.profile.fps if fps is None else fps
        if grid_size not in self.grids or rate not in self.fps:
            raise UnsupportedGrid(
                f"grid size {grid_size} at {rate} fps: model '{self.name}' supports grid sizes "
                f"{sorted(self.grids)} at {list(self.fps)} fps; choose one of them or export again"
            )
        return EmbeddingSpec(
            fingerprint=self.fingerprint,
            grid_size=grid_size,
            resolution=self.grids[grid_size],
            fps=rate,
        )

    @property
    def specs(self) -> tuple[EmbeddingSpec, ...]:
        """The spec of each grid size that the profile indexes."""
        return tuple(self.spec(n) for n in self.profile.grid_sizes)

    @property
    def reranker_spec(self) -> EmbeddingSpec | None:
        """The spec that mode hybrid reranks with, if the profile has that mode."""
        hybrid = self.profile.hybrid
        return None if hybrid is None else self.spec(hybrid.grid_size)


def fingerprint(weights: str, preprocessing: Preprocessing, dim: int, window: int) -> str:
    """Return sixteen hex digits that change with anything that changes a vector."""
    facts = [weights, preprocessing.model_dump(), dim, window]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write `manifest.json` into a folder atomically."""
    with atomic_write(folder / MANIFEST_NAME) as file:
        file.write(manifest.model_dump_json(indent=2).encode() + b"\n")


def read_manifest(folder: Path) -> Manifest:
    """Read the `manifest.json` of an exported model.

    Raises:
        CorruptArtifact: the file is missing or not a manifest.
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
    """Compare the digest of every file that the manifest names.

    Raises:
        CorruptArtifact: a file is missing or has another digest.
    """
    for name, digest in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise CorruptArtifact(f"{path} is missing; run `dvc repro export`")
        if (actual := sha256_of(path)) != digest:
            raise CorruptArtifact(
                f"{path} has SHA-256 {actual}, its manifest says {digest}; export the model again"
            )
