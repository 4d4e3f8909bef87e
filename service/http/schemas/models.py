"""Generations over HTTP."""

from datetime import datetime

from pydantic import BaseModel, Field

from qasir.contract.models import ActivateModelRequest, Model, Reranker
from service.http.schemas.shared import Strict, Truth, Whole


class BuildIn(Strict):
    """A model set of the store to build; `activate`: as soon as it holds every video."""

    id: Whole = Field(ge=1, examples=[2])
    activate: Truth = False


class FineIn(Strict):
    """What scores the best `k` again in mode hybrid: a generation at a grid size of its own."""

    id: Whole = Field(ge=1)
    grid_size: Whole = Field(ge=1)
    k: Whole = Field(default=20, ge=1, le=50)

    @property
    def value(self) -> Reranker:
        return Reranker(version=self.id, grid_size=self.grid_size, k=self.k)


class ActivateIn(Strict):
    """`max_missing`: activate although so many videos are not in it yet."""

    max_missing: Whole = Field(default=0, ge=0)
    fine: FineIn | None = None

    def request(self) -> ActivateModelRequest:
        reranker = self.fine.value if self.fine else None
        return ActivateModelRequest(max_missing=self.max_missing, reranker=reranker)


class HeldOut(BaseModel):
    """Videos of the library: those a generation holds, and those it could not take."""

    total: int
    done: int
    failed: int


class GenerationOut(BaseModel):
    """A model set and the vectors made by it.

    `state`: active answers searches; previous did before, and can again; building still lacks
    videos; ready lacks none; stored is a model set without vectors.
    """

    id: int
    state: str
    model: str
    backbone: str
    variant: str
    fingerprint: str
    grid_sizes: list[int]
    fps: float
    videos: HeldOut
    created: datetime | None
    error: str | None

    @classmethod
    def of(cls, model: Model) -> "GenerationOut":
        coverage = model.coverage
        fields = model.model_dump(exclude={"version", "name", "coverage", "created_at"})
        held = HeldOut(
            total=coverage.video_count,
            done=coverage.embedded_count,
            failed=coverage.failed_count,
        )
        return cls(
            id=model.version, model=model.name, videos=held, created=model.created_at, **fields
        )


class GenerationsOut(BaseModel):
    """Every generation, oldest first."""

    generations: list[GenerationOut]
