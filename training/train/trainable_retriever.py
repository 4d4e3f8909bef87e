"""Wraps the retriever for training: scores, the loss of a batch, and the optimizer.

Features are requested inside `forward`, so that towers in training are synchronised across GPUs.
Captions of one video are never each other's negatives, because the video matches all of them.
"""

import math
from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from qasir.config import MAX_GRID_SIZE, FinetuneParams, TripletParams
from qasir.manifest import ScoreFusion
from qasir.modeling.adapters import TextAdapter
from qasir.modeling.retriever import Retriever
from qasir.modeling.temporal_encoder import MASKED, TemporalEncoder, real_rows
from training.train.batches import FeatureProvider, VideoBatch

# Beyond this the softmax of the loss has no gradient left (CLIP, arXiv 2103.00020).
LARGEST_SCALE = 100.0
# Below, one embedding gets all attention; above, all get equal shares.
SMALLEST_TAU, LARGEST_TAU = 0.005, 2.0
SMALLEST_SQUARE = 1e-12
NEVER = -1e9
# Temperatures, weights and scale are few and matter from the start, so their steps are larger.
SCALAR_SHARE = 5.0
SCALARS = ("branches.", "log_scale")
ADAPTERS = ("retriever.video.learned.adapter.", "retriever.text.")
TOWERS = "towers."


class LearnedBranches(nn.Module):
    """Temperatures of both branches and the weight of the super images, by grid size."""

    def __init__(self, params: FinetuneParams) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(MAX_GRID_SIZE + 1))
        self.log_tau = nn.Parameter(torch.full((MAX_GRID_SIZE + 1, 2), math.log(params.tau)))
        self._params = params

    def taus(self, grid_size: int) -> tuple[Tensor, Tensor]:
        """Returns the temperatures of super images and cells."""
        taus = self.log_tau[grid_size].exp().clamp(SMALLEST_TAU, LARGEST_TAU)
        return taus[0], taus[1]

    def super_image_weight(self, grid_size: int) -> Tensor:
        """Returns w_N; 1 or 0 if only one branch scores."""
        if not self._params.cell_branch:
            return torch.ones_like(self.logit[grid_size])
        if not self._params.super_image_branch:
            return torch.zeros_like(self.logit[grid_size])
        return self.logit[grid_size].sigmoid()

    @torch.no_grad()
    def set_weight(self, grid_size: int, weight: float) -> None:
        """Replaces the learned w_N by `weight`, from 0 to 1."""
        self.logit[grid_size] = torch.tensor(weight).logit()

    def at(self, grid_size: int) -> ScoreFusion:
        """Returns the branches as they would be served."""
        super_image_tau, cell_tau = self.taus(grid_size)
        return ScoreFusion(
            super_image_weight=self.super_image_weight(grid_size).item(),
            super_image_tau=super_image_tau.item(),
            cell_tau=cell_tau.item(),
        )


class TrainableRetriever(nn.Module):
    """Retriever, branches, logit scale and, if they are trained, the towers of the provider."""

    def __init__(
        self, retriever: Retriever, provider: FeatureProvider, params: FinetuneParams, window: int
    ) -> None:
        """Wraps a retriever made by `untrained`; `window` is W."""
        super().__init__()
        self.retriever = retriever
        self.branches = LearnedBranches(params)
        self.log_scale = nn.Parameter(torch.tensor(math.log(params.logit_scale)))
        self.towers = provider.towers
        self._provider = provider
        self._params = params
        self._window = window

    @property
    def device(self) -> torch.device:
        return self.log_scale.device

    def forward(
        self,
        video_ids: Sequence[str],
        grid_size: int,
        texts: Sequence[str],
        owners: Tensor,
        hardest: bool,
    ) -> Tensor:
        """Returns the loss of V videos and Q captions, owners int64 [Q]; see `triplet`."""
        scores = self.scores(video_ids, grid_size, self.queries(texts))
        scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
        loss = contrastive(scale * scores, owners)
        if self._params.triplet.weight:
            hinge = triplet(scores, owners, self._params.triplet, hardest)
            loss = loss + self._params.triplet.weight * hinge
        return loss

    def queries(self, texts: Sequence[str]) -> Tensor:
        """Encodes texts to queries float32 [Q, D]."""
        queries: Tensor = self.retriever.text(self._provider.queries(texts).to(self.device))
        return queries

    def scores(self, video_ids: Sequence[str], grid_size: int, queries: Tensor) -> Tensor:
        """Returns scores float32 [Q, V] of both branches, blended as in `qasir.scoring`."""
        whole, cells = self.branch_scores(video_ids, grid_size, queries)
        weight = self.branches.super_image_weight(grid_size)
        return weight * whole + (1 - weight) * cells

    def branch_scores(
        self, video_ids: Sequence[str], grid_size: int, queries: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Returns attention scores float32 [Q, V] over super images and over real cells."""
        batch = self._provider.videos(video_ids, grid_size).to(self.device)
        units, real = self.units(batch), real_rows(batch.mask)
        tau, cell_tau = self.branches.taus(grid_size)
        cells = units[:, :, 1:].flatten(1, 2), real[:, :, 1:].flatten(1, 2)
        return (
            attention_scores(queries, units[:, :, 0], real[:, :, 0], tau),
            attention_scores(queries, *cells, cell_tau),
        )

    def units(self, batch: VideoBatch) -> Tensor:
        """Encodes to float32 [B, S, 1+P, D]; a video longer than W in adjacent windows."""
        zero_shot = batch.zero_shot
        if zero_shot is None:
            zero_shot = self.video.bridge(batch.features)
        parts = [fold(x, self._window) for x in (batch.features, zero_shot, batch.mask)]
        folded = self.video.learned(*parts)
        learned = folded.reshape(len(batch.mask), -1, *folded.shape[2:])
        return self.video.join(zero_shot, learned[:, : batch.mask.shape[1]], batch.mask)

    @property
    def video(self) -> TemporalEncoder:
        """Returns the trainable video side."""
        return cast(TemporalEncoder, self.retriever.video)

    @property
    def text(self) -> TextAdapter:
        """Returns the trainable text side."""
        return cast(TextAdapter, self.retriever.text)


def fold(rows: Tensor, window: int) -> Tensor:
    """Cuts [B, S, ...] into windows [B * ceil(S / W), W, ...], the last one padded with zeros.

    Rows that fit one window stay unchanged.
    """
    count = rows.shape[1]
    if count <= window:
        return rows
    missing = -count % window
    filler = rows.new_zeros(rows.shape[0], missing, *rows.shape[2:])
    return torch.cat([rows, filler], dim=1).reshape(-1, window, *rows.shape[2:])


def attention_scores(queries: Tensor, units: Tensor, real: Tensor, tau: Tensor) -> Tensor:
    """Computes cos(q, sum_t softmax_t(q.u_t / tau) u_t) [Q, V] by Gram matrices.

    queries [Q, D], units [V, T, D], real bool [V, T].
    """
    similarities = torch.matmul(units, queries.T).transpose(1, 2)
    hidden = (~real).to(units.dtype)[:, None] * MASKED
    weights = (similarities / tau + hidden).softmax(-1)
    grams = torch.matmul(units, units.transpose(1, 2))
    squares = (torch.matmul(weights, grams) * weights).sum(-1).clamp(min=SMALLEST_SQUARE)
    return ((weights * similarities).sum(-1) / squares.sqrt()).T


def contrastive(scores: Tensor, owners: Tensor) -> Tensor:
    """Computes symmetric multi-caption InfoNCE of scaled scores [Q, V] and owners int64 [Q].

    A caption's video competes with the other videos; each caption of a video competes with the
    captions of other videos.

    >>> contrastive(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), torch.tensor([0, 1])).item() < 1e-6
    True
    """
    own = scores.gather(1, owners[:, None]).squeeze(1)
    to_video = scores.logsumexp(dim=1) - own
    strangers = scores.masked_fill(_owned(scores, owners), NEVER).logsumexp(dim=0)
    to_caption = torch.logaddexp(own, strangers[owners]) - own
    return (to_video.mean() + to_caption.mean()) / 2


def triplet(scores: Tensor, owners: Tensor, params: TripletParams, hardest: bool) -> Tensor:
    """Computes a hinge on cosine scores [Q, V] with one random negative in each direction.

    As in MS-SL (arXiv 2208.12510). Negatives come from all others, or, if `hardest`, from the
    `params.hardest` that score highest.
    """
    owned = _owned(scores, owners)
    own = scores.gather(1, owners[:, None]).squeeze(1)
    strangers = scores.masked_fill(owned, NEVER)
    limit = params.hardest if hardest else scores.numel()
    video, caption = _drawn(strangers, limit), _drawn(strangers.T, limit)[owners]
    hinges = [(params.margin - own + negative).clamp(min=0) for negative in (video, caption)]
    return (hinges[0].mean() + hinges[1].mean()) / 2


def _owned(scores: Tensor, owners: Tensor) -> Tensor:
    """Marks the video of each caption, bool [Q, V]."""
    return owners[:, None] == torch.arange(scores.shape[1], device=scores.device)


def _drawn(strangers: Tensor, limit: int) -> Tensor:
    """Draws one of the `limit` highest scores of every row, float32 [rows]."""
    real = (strangers > NEVER / 2).sum(1).clamp(min=1, max=limit)
    place = (torch.rand(len(strangers), device=strangers.device) * real).long().minimum(real - 1)
    return strangers.sort(dim=1, descending=True).values.gather(1, place[:, None]).squeeze(1)


def new_optimizer(trainable: TrainableRetriever, params: FinetuneParams) -> torch.optim.Optimizer:
    """Groups parameters by their `share` of the learning rate.

    Adapters move at `adapter_rate`, because they start from a closed-form fit; towers have a rate
    of their own.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trainable.named_parameters():
        if parameter.requires_grad:
            groups.setdefault(_pace(name, parameter, params), []).append(parameter)
    listed = [
        {"params": members, "share": share, "weight_decay": decay}
        for (share, decay), members in groups.items()
    ]
    return torch.optim.AdamW(listed, lr=params.learning_rate)


def _pace(name: str, parameter: nn.Parameter, params: FinetuneParams) -> tuple[float, float]:
    """Returns the share of the learning rate, and weight decay."""
    if name.startswith(SCALARS):
        return SCALAR_SHARE, 0.0
    if name.startswith(ADAPTERS):
        return params.adapter_rate, 0.0
    share = params.tuning.learning_rate / params.learning_rate if name.startswith(TOWERS) else 1.0
    return share, params.weight_decay if parameter.ndim > 1 else 0.0


def learning_rate(params: FinetuneParams, epochs: float) -> float:
    """Rises linearly over `warm_up` epochs, then falls along a cosine to zero."""
    if epochs < params.warm_up:
        return params.learning_rate * epochs / params.warm_up
    progress = (epochs - params.warm_up) / max(1, params.epochs - params.warm_up)
    return params.learning_rate * (1 + math.cos(math.pi * progress)) / 2
