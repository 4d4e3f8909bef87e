"""`params.yaml` as typed values: everything that changes results, and nothing else.

Ports, folders and limits come from the environment, see `service/settings.py`. Unknown keys are
errors, so that a misspelt parameter is never silently ignored.
"""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from qasir.errors import InvalidConfig

MAX_GRID_SIZE = 8
# Videos that the scorer sees for one query.
CANDIDATES = 50

GridSize = Annotated[int, Field(ge=1, le=MAX_GRID_SIZE)]
Variant = Literal["zero-shot", "fine-tuned"]
IndexUnit = Literal["super-image", "cell"]
BackboneTraining = Literal["frozen", "last-blocks", "lora"]
Precision = Literal["no", "fp16", "bf16"]


class Strict(BaseModel):
    """A frozen model that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DemoParams(Strict):
    """The rendered corpus: sizes in videos, pixels and seconds."""

    concepts: int = Field(ge=20, le=3000)
    train_videos: int = Field(ge=1)
    val_videos: int = Field(ge=1)
    test_videos: int = Field(ge=1)
    moments: int = Field(ge=1)
    moment_seconds: tuple[float, float]
    width: int = Field(ge=64)
    height: int = Field(ge=64)
    fps: int = Field(ge=1)


class PrepareParams(Strict):
    """The dataset that becomes `data/dataset`, and how much of train becomes val."""

    dataset: Literal["demo", "activitynet", "tvr", "charades"]
    annotations: Path | None
    videos: Path | None
    validation_share: float = Field(gt=0, lt=1)
    seed: int
    demo: DemoParams


class GridParams(Strict):
    """One grid size: the side R of its super images in pixels."""

    resolution: int = Field(ge=32, le=2048)


class EncodeParams(Strict):
    """The backbone, and how frames are sampled and grouped for it."""

    backbone: str
    fps: float = Field(gt=0, le=60)
    window: int = Field(ge=2, le=1024)
    window_overlap: int = Field(ge=0)
    batch_size: int = Field(ge=1)

    @model_validator(mode="after")
    def _overlap_fits(self) -> "EncodeParams":
        if self.window_overlap * 2 > self.window:
            raise ValueError(
                f"window_overlap {self.window_overlap} is more than half of window {self.window}"
            )
        return self


class RetrieverParams(Strict):
    """The parts that are trained on top of a frozen backbone; each can be left out (ablation).

    dim: D1, length of the learned half of an embedding and width of the temporal encoder;
    grid_embedding: one adapter for each grid size instead of one for all.
    """

    dim: int = Field(ge=2)
    layers: int = Field(ge=1)
    heads: int = Field(ge=1)
    dropout: float = Field(ge=0, lt=1)
    image_adapter: bool
    text_adapter: bool
    temporal_encoder: bool
    grid_embedding: bool

    @model_validator(mode="after")
    def _heads_share_dim(self) -> "RetrieverParams":
        if self.dim % (2 * self.heads):
            raise ValueError(f"dim {self.dim} is not a multiple of 2 x heads {self.heads}")
        return self


class TripletParams(Strict):
    """A triplet loss beside the contrastive loss, as in MS-SL; weight 0 turns it off.

    hardest: after `warm_up` epochs, the negative is drawn from this many hardest ones; before,
    from all.
    """

    weight: float = Field(ge=0)
    margin: float = Field(gt=0)
    hardest: int = Field(ge=1)
    warm_up: int = Field(ge=0)


class TuningParams(Strict):
    """Training of the backbone itself: which weights, how fast, and at what cost.

    blocks: how many last blocks of each tower are trained; rank, alpha, dropout: of LoRA;
    videos: per batch; chunk: super images per forward pass; cache_gb: disk space for decoded
    pixels.
    """

    blocks: int = Field(ge=1)
    rank: int = Field(ge=1)
    alpha: float = Field(gt=0)
    dropout: float = Field(ge=0, lt=1)
    learning_rate: float = Field(gt=0)
    videos: int = Field(ge=2)
    chunk: int = Field(ge=1)
    checkpointing: bool
    cache_gb: float = Field(ge=0)


class FinetuneParams(Strict):
    """How the retriever is trained. An epoch shows every video once at every grid size; with 0
    epochs the closed-form start stays as it is.

    patience: epochs without a better validation result before training stops; videos: per batch,
    with all their captions; tau, logit_scale: start values of the learned ones; residual_ratios:
    candidates, selected on validation; familiarity: fall back to zero-shot for queries unlike the
    training captions; directions: how many principal directions of the features the closed-form
    start keeps; super_image_branch, cell_branch: at least one must score.
    """

    backbone: BackboneTraining
    epochs: int = Field(ge=0)
    patience: int = Field(ge=1)
    videos: int = Field(ge=2)
    learning_rate: float = Field(gt=0)
    weight_decay: float = Field(ge=0)
    warm_up: int = Field(ge=0)
    gradient_norm: float = Field(gt=0)
    tau: float = Field(gt=0)
    logit_scale: float = Field(gt=0)
    triplet: TripletParams
    residual_ratios: tuple[Annotated[float, Field(ge=0, le=1)], ...] = Field(min_length=1)
    familiarity: bool
    directions: int = Field(ge=1)
    adapter_rate: float = Field(ge=0)
    super_image_branch: bool
    cell_branch: bool
    precision: Precision
    seed: int
    retriever: RetrieverParams
    tuning: TuningParams

    @model_validator(mode="after")
    def _some_branch_scores(self) -> "FinetuneParams":
        if not (self.super_image_branch or self.cell_branch):
            raise ValueError("super_image_branch and cell_branch are both false; set one to true")
        return self


class EvaluateParams(Strict):
    """What `evaluate` measures: candidate temperatures, sizes of lengthened videos, their seed."""

    taus: tuple[float, ...] = Field(min_length=1)
    lengths: tuple[int, ...]
    moment_ratio_edges: tuple[float, ...]
    seed: int


class HybridParams(Strict):
    """How mode hybrid reranks the `k` best videos of a cheap ranking: at a finer grid size."""

    grid_size: GridSize
    k: int = Field(default=20, ge=1, le=CANDIDATES)


class ServeParams(Strict):
    """The default profile: indexed grid sizes, what recall compares with, and how mode hybrid
    reranks; without `hybrid` there is no such mode."""

    grid_sizes: tuple[GridSize, ...] = Field(min_length=1)
    index_unit: IndexUnit
    hybrid: HybridParams | None = None


class ExportParams(Strict):
    """The variant that is exported, and its name in the model store."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$")
    variant: Variant


class Params(Strict):
    """The whole of `params.yaml`."""

    prepare: PrepareParams
    grids: dict[GridSize, GridParams] = Field(min_length=1)
    encode: EncodeParams
    finetune: FinetuneParams
    evaluate: EvaluateParams
    export: ExportParams
    serve: ServeParams

    @model_validator(mode="after")
    def _served_grids_exist(self) -> "Params":
        hybrid = self.serve.hybrid
        served = (*self.serve.grid_sizes, *([hybrid.grid_size] if hybrid else []))
        if missing := [n for n in served if n not in self.grids]:
            raise ValueError(f"serve names grid sizes {missing}, not among {sorted(self.grids)}")
        return self

    def resolution(self, grid_size: int) -> int:
        """Return R in pixels of a grid size.

        Raises:
            InvalidConfig: `grids` does not list it.
        """
        if grid_size not in self.grids:
            raise InvalidConfig(
                f"grid size {grid_size} is not in params.yaml, which has {sorted(self.grids)}; "
                f"add grids.'{grid_size}'.resolution"
            )
        return self.grids[grid_size].resolution


def load_params(path: Path = Path("params.yaml")) -> Params:
    """Read and validate a params file.

    Raises:
        InvalidConfig: the file is missing, not YAML, or has a wrong key or value.
    """
    try:
        return Params.model_validate(yaml.safe_load(path.read_text()))
    except FileNotFoundError as error:
        raise InvalidConfig(f"no params file at {path}; run from the project root") from error
    except (yaml.YAMLError, ValidationError) as error:
        raise InvalidConfig(f"{path}: {error}") from error
