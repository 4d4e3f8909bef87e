"""Model versions."""

from datetime import datetime
from typing import Annotated, Literal, get_args

from pydantic import Field

from qasir.contract.base import Answer, Boolean, Integer, Request

ModelState = Literal["active", "previous", "ready", "building", "stored"]

AnyModelState = Annotated[
    str, Field(json_schema_extra={"x-extensible-enum": [*get_args(ModelState)]})
]


class BuildModelRequest(Request):
    """Encode every video with a model version; `activate`: once no video is missing."""

    activate: Boolean = False


class Reranker(Request):
    """What scores the best `k` again in mode hybrid: a model version at its own grid size."""

    version: Integer = Field(ge=1)
    grid_size: Integer = Field(ge=1)
    k: Integer = Field(default=20, ge=1, le=50)


class ActivateModelRequest(Request):
    """`max_missing`: activate although up to this many videos have no embeddings yet."""

    max_missing: Integer = Field(default=0, ge=0)
    reranker: Reranker | None = None


class Coverage(Answer):
    """Videos of the library: all, those with embeddings of a model, those that failed."""

    video_count: int
    embedded_count: int
    failed_count: int


class Model(Answer):
    """One version of a model, and how much of the library has its embeddings.

    `state`: active answers searches; previous did before, and can again; building still lacks
    videos; ready lacks none; stored has no embeddings. `error`: why Triton does not serve it, or
    why one of its videos failed.
    """

    name: str
    version: int
    state: AnyModelState
    backbone: str
    variant: str
    fingerprint: str
    grid_sizes: list[int]
    fps: float
    coverage: Coverage
    created_at: datetime | None = None
    error: str | None = None


class ModelList(Answer):
    """Every model version of the store, oldest first."""

    models: list[Model]
