"""Which model versions are deployed, and in which role: the one file that all processes follow."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qasir.config import Strict
from qasir.contract.models import Reranker
from qasir.manifest import EmbeddingSpec, Manifest

DEPLOYMENT_NAME = "deployment.json"


@dataclass(frozen=True)
class ModelVersion:
    """One version in the store: its manifest, the folder of its tokenizer, and what reranks for
    it in mode hybrid."""

    version: int
    manifest: Manifest
    tokenizer: Path
    reranker: "RerankerModel | None" = None


@dataclass(frozen=True)
class RerankerModel:
    """A model version at one grid size; it scores the `k` best videos of a search again."""

    model: ModelVersion
    spec: EmbeddingSpec
    k: int


# Called before every search and every job, so that an activation counts at once.
FindActive = Callable[[], ModelVersion]


class Deployment(Strict):
    """The role of each deployed version; replaced as a whole, so that all see a change at once.

    active: answers searches; previous: was active before; retained: the other versions that every
    video is encoded with, `previous` among them; reranker: for mode hybrid, where the active
    manifest does not name its own; pending: becomes active once no video is missing; candidate:
    becomes active next, so every process loads its embeddings beforehand.
    """

    active: int
    previous: int | None = None
    retained: tuple[int, ...] = ()
    reranker: Reranker | None = None
    pending: int | None = None
    candidate: int | None = None

    @property
    def indexed(self) -> tuple[int, ...]:
        """The active version and the retained ones: every video has their embeddings, or will."""
        return (self.active, *self.retained)

    @property
    def loaded(self) -> tuple[int, ...]:
        """The versions that Triton loads."""
        reranker = [self.reranker.version] if self.reranker else []
        return tuple(sorted({*self.indexed, *reranker}))

    def activate(self, version: int, reranker: Reranker | None = None) -> "Deployment":
        """Return this deployment with another active version; the one before is retained."""
        changed = version != self.active
        return Deployment(
            active=version,
            previous=self.active if changed else self.previous,
            retained=tuple(sorted({*self.indexed} - {version})),
            reranker=reranker,
            pending=None if self.pending == version else self.pending,
        )

    def retire(self, version: int) -> "Deployment":
        """Return this deployment without a version that is not active."""
        roles = ("previous", "pending", "candidate")
        cleared = {role: None for role in roles if getattr(self, role) == version}
        retained = tuple(v for v in self.retained if v != version)
        return self.model_copy(update={"retained": retained, **cleared})
