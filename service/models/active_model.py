"""The model that is active now, as service and worker use it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qasir.manifest import EmbeddingSpec, Manifest


@dataclass(frozen=True)
class ActiveModel:
    """A Triton version, its manifest, the folder of its tokenizer, and what scores beside it in
    mode hybrid."""

    version: int
    manifest: Manifest
    tokenizer: Path
    fine: "RerankerModel | None" = None


@dataclass(frozen=True)
class RerankerModel:
    """What scores the `k` best of a cheap ranking again: a model at one grid size."""

    model: ActiveModel
    spec: EmbeddingSpec
    k: int


# Asked before every search and every job, so that an activation counts at once.
FindActiveModel = Callable[[], ActiveModel]
