"""The retriever: from the towers of a backbone to a score, zero-shot or fine-tuned.

`qasir.scoring` is the numpy reference of the scorer; parity is tested.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from qasir.artifacts import atomic_write
from qasir.config import MAX_GRID_SIZE, GridSize, RetrieverParams, Strict
from qasir.errors import CorruptArtifact, FingerprintMismatch, InvalidInput
from qasir.manifest import ScoreFusion
from qasir.modeling.adapters import TextAdapter
from qasir.modeling.backbones import Backbone
from qasir.modeling.temporal_encoder import TemporalEncoder, ZeroShot, learned_dim

WEIGHTS_NAME = "model.safetensors"
RETRIEVER_NAME = "retriever.json"
# The bridge belongs to the backbone, which is saved elsewhere or not at all.
BRIDGE_PREFIX = "video.bridge."


class Retriever(nn.Module):
    """Turn features and zero-shot query vectors into embeddings and queries of one space.

    video: features [B, S, 1+P, F'], mask [B, S, N, N] -> embeddings [B, S, 1+P, D];
    text: q0 [Q, D0] -> queries [Q, D]; branches: how a score is made, by grid size.
    """

    def __init__(
        self,
        video: TemporalEncoder | ZeroShot,
        text: TextAdapter | nn.Identity,
        dim: int,
        branches: Mapping[int, ScoreFusion],
        params: RetrieverParams | None = None,
    ) -> None:
        super().__init__()
        self.video = video
        self.text = text
        self.dim = dim
        self.branches = dict(branches)
        self.params = params

    @property
    def residual_ratio(self) -> float:
        """The zero-shot weight of an in-distribution query; 1 if nothing is learned."""
        if not isinstance(self.text, TextAdapter):
            return 1.0
        # The tensor is float32; rounding restores the few digits that were set.
        return round(self.text.residual_ratio.item(), 6)

    def set_residual_ratio(self, residual_ratio: float) -> None:
        """Set the zero-shot weight of in-distribution queries.

        Raises:
            InvalidInput: the ratio is outside [0, 1], or nothing is learned.
        """
        if not 0 <= residual_ratio <= 1:
            raise InvalidInput(f"residual ratio {residual_ratio} must be between 0 and 1")
        if not isinstance(self.text, TextAdapter):
            raise InvalidInput("a zero-shot retriever has no residual ratio; fine-tune one first")
        self.text.residual_ratio.fill_(residual_ratio)


class RetrieverCard(Strict):
    """The contents of `retriever.json`: backbone, trained parts, score fusion."""

    backbone: str
    feature_dim: int
    dim: int
    params: RetrieverParams
    branches: dict[GridSize, ScoreFusion]


def zero_shot(backbone: Backbone, branches: Mapping[int, ScoreFusion]) -> Retriever:
    """Return a retriever that uses the backbone as it is."""
    return Retriever(ZeroShot(backbone.bridge), nn.Identity(), backbone.dim, branches).eval()


def untrained(backbone: Backbone, params: RetrieverParams, grid_sizes: Sequence[int]) -> Retriever:
    """Build the parts that `params` asks for, with random weights and no branches yet."""
    video = TemporalEncoder(backbone.bridge, backbone.feature_dim, backbone.dim, params, grid_sizes)
    outputs = learned_dim(backbone.dim, params)
    text = TextAdapter(backbone.dim, outputs, adapts=params.text_adapter, dropout=params.dropout)
    return Retriever(video, text, backbone.dim + outputs, {}, params)


def learned_state(retriever: Retriever) -> dict[str, Tensor]:
    """Return every learned tensor by name, without the backbone's bridge."""
    state = retriever.state_dict()
    return {name: value for name, value in state.items() if not name.startswith(BRIDGE_PREFIX)}


def save_retriever(retriever: Retriever, backbone: Backbone, folder: Path) -> None:
    """Write `model.safetensors` and `retriever.json`, each atomically.

    Raises:
        InvalidInput: the retriever is zero-shot and has nothing to save.
    """
    if retriever.params is None or not isinstance(retriever.video, TemporalEncoder):
        raise InvalidInput(
            "a zero-shot retriever has no weights to save; rebuild it with zero_shot()"
        )
    card = RetrieverCard(
        backbone=backbone.name,
        feature_dim=backbone.feature_dim,
        dim=backbone.dim,
        params=retriever.params,
        branches=retriever.branches,
    )
    state = {k: v.cpu().contiguous() for k, v in learned_state(retriever).items()}
    with atomic_write(folder / WEIGHTS_NAME) as file:
        file.write(save(state))
    with atomic_write(folder / RETRIEVER_NAME) as file:
        file.write(card.model_dump_json(indent=2).encode() + b"\n")


def load_retriever(backbone: Backbone, folder: Path) -> Retriever:
    """Load a saved retriever for the backbone on which it was trained.

    Raises:
        CorruptArtifact: a file is missing, truncated or not a retriever.
        FingerprintMismatch: it was trained on another backbone.
    """
    try:
        card = RetrieverCard.model_validate_json((folder / RETRIEVER_NAME).read_bytes())
    except (OSError, ValidationError) as error:
        path = folder / RETRIEVER_NAME
        raise CorruptArtifact(f"{path}: {error}; run `dvc repro finetune`") from error
    trained_on = card.backbone, card.feature_dim, card.dim
    if trained_on != (backbone.name, backbone.feature_dim, backbone.dim):
        raise FingerprintMismatch(
            f"{folder} was trained on backbone {trained_on}, this is "
            f"{(backbone.name, backbone.feature_dim, backbone.dim)}; run `dvc repro finetune`"
        )
    retriever = untrained(backbone, card.params, sorted(card.branches))
    retriever.branches = dict(card.branches)
    path = folder / WEIGHTS_NAME
    try:
        keys = retriever.load_state_dict(load_file(path), strict=False)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CorruptArtifact(f"{path}: {error}; run `dvc repro finetune`") from error
    missing = [name for name in keys.missing_keys if not name.startswith(BRIDGE_PREFIX)]
    if missing or keys.unexpected_keys:
        raise CorruptArtifact(
            f"{path} lacks {missing} and has unknown {keys.unexpected_keys}; "
            "run `dvc repro finetune`"
        )
    return retriever.eval()


class AttentionScorer(nn.Module):
    """Query attention (QASIR) in two branches, super images and cells.

        a = softmax_m(x_m.q / tau + w_m);  A = cos(q, sum_m a_m x_m)
        score = w_N A(super images; tau_s) + (1 - w_N) A(cells; tau_c)

    Embeddings of several videos share one axis. log_weights say which of them belong to video c:
    0 = yes, MASKED_LOG_WEIGHT = no, anything else = the prior of one that stands for several.
    """

    super_image_weight: Tensor
    super_image_tau: Tensor
    cell_tau: Tensor

    def __init__(self, branches: Mapping[int, ScoreFusion]) -> None:
        super().__init__()
        for name in ("super_image_weight", "super_image_tau", "cell_tau"):
            # An unknown grid size scores NaN, which every measure rejects.
            table = torch.full((MAX_GRID_SIZE + 1,), torch.nan)
            for grid_size, branch in branches.items():
                table[grid_size] = getattr(branch, name)
            self.register_buffer(name, table)

    def forward(
        self,
        query: Tensor,
        super_images: Tensor,
        log_weights: Tensor,
        cells: Tensor,
        cell_log_weights: Tensor,
        grid_size: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """query float32 [B, D], super_images float16 [B, M, D], log_weights float32 [B, C, M],
        cells float16 [B, K, D], cell_log_weights float32 [B, C, K], grid_size int64 [B, 1]
        -> scores float32 [B, C], attention [B, C, M], cell_attention [B, C, K]."""
        weight = self.super_image_weight[grid_size]
        whole, attention = attend(query, super_images, log_weights, self.super_image_tau[grid_size])
        parts, cell_attention = attend(query, cells, cell_log_weights, self.cell_tau[grid_size])
        return weight * whole + (1 - weight) * parts, attention, cell_attention


def attend(
    query: Tensor, embeddings: Tensor, log_weights: Tensor, tau: Tensor
) -> tuple[Tensor, Tensor]:
    """[B, D], [B, M, D], [B, C, M], tau [B, 1] -> scores [B, C], attention [B, C, M]."""
    vectors = embeddings.to(torch.float32)
    similarities = torch.matmul(vectors, query.unsqueeze(-1)).squeeze(-1)
    attention = ((similarities / tau).unsqueeze(1) + log_weights).softmax(-1)
    attended = torch.matmul(attention, vectors)
    dots = torch.matmul(attended, query.unsqueeze(-1)).squeeze(-1)
    norms = attended.norm(dim=-1) * query.norm(dim=-1, keepdim=True)
    return dots / norms.clamp(min=1e-12), attention
