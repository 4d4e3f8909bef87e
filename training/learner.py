"""The retriever while it is trained: with how it scores, and the loss of a batch.

Features are asked for inside `forward`, so that towers in training are part of what several
GPUs keep in step.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qasir.config import MAX_GRID_SIZE, FinetuneParams
from qasir.manifest import ScoreFusion
from qasir.modeling.adapters import TextAdapter
from qasir.modeling.retriever import Retriever
from qasir.modeling.temporal_encoder import TemporalEncoder
from qasir.modeling.window_context import MASKED, real_rows
from training.batches import Source, VideoBatch
from training.losses import contrastive, triplet

# Beyond this the softmax of the loss has no gradient left to give (CLIP, arXiv 2103.00020).
LARGEST_SCALE = 100.0
# Below, one unit takes all attention; above, every unit has its equal share.
SMALLEST_TAU, LARGEST_TAU = 0.005, 2.0
SMALLEST_SQUARE = 1e-12


class LearnedBranches(nn.Module):
    """tau of either branch and the weight of the super images, at every grid size."""

    def __init__(self, params: FinetuneParams) -> None:
        super().__init__()
        self.logit = nn.Parameter(torch.zeros(MAX_GRID_SIZE + 1))
        self.log_tau = nn.Parameter(torch.full((MAX_GRID_SIZE + 1, 2), math.log(params.tau)))
        self._params = params

    def taus(self, grid_size: int) -> tuple[Tensor, Tensor]:
        """Of super images and of cells."""
        taus = self.log_tau[grid_size].exp().clamp(SMALLEST_TAU, LARGEST_TAU)
        return taus[0], taus[1]

    def super_image_weight(self, grid_size: int) -> Tensor:
        """w_N; 1 or 0 where only one branch scores."""
        if not self._params.cell_branch:
            return torch.ones_like(self.logit[grid_size])
        if not self._params.super_image_branch:
            return torch.zeros_like(self.logit[grid_size])
        return self.logit[grid_size].sigmoid()

    @torch.no_grad()
    def set_weight(self, grid_size: int, weight: float) -> None:
        """Put w_N, from 0 to 1, where it was learned."""
        self.logit[grid_size] = torch.tensor(weight).logit()

    def at(self, grid_size: int) -> ScoreFusion:
        """As they would be served."""
        super_image_tau, cell_tau = self.taus(grid_size)
        return ScoreFusion(
            super_image_weight=self.super_image_weight(grid_size).item(),
            super_image_tau=super_image_tau.item(),
            cell_tau=cell_tau.item(),
        )


class Learner(nn.Module):
    """Retriever, branches, logit scale and, where they are trained, the towers of the source."""

    def __init__(
        self, retriever: Retriever, source: Source, params: FinetuneParams, window: int
    ) -> None:
        """`retriever` is one of `untrained`; `window` is W."""
        super().__init__()
        self.retriever = retriever
        self.branches = LearnedBranches(params)
        self.log_scale = nn.Parameter(torch.tensor(math.log(params.logit_scale)))
        self.towers = source.towers
        self._source = source
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
        """Loss of V videos and Q captions, owners int64 [Q]; `hardest` as `losses.triplet`."""
        scores = self.scores(video_ids, grid_size, self.queries(texts))
        scale = self.log_scale.exp().clamp(max=LARGEST_SCALE)
        loss = contrastive(scale * scores, owners)
        if self._params.triplet.weight:
            hinge = triplet(scores, owners, self._params.triplet, hardest)
            loss = loss + self._params.triplet.weight * hinge
        return loss

    def queries(self, texts: Sequence[str]) -> Tensor:
        """Queries float32 [Q, D]."""
        queries: Tensor = self.retriever.text(self._source.queries(texts).to(self.device))
        return queries

    def scores(self, video_ids: Sequence[str], grid_size: int, queries: Tensor) -> Tensor:
        """Scores float32 [Q, V]: both branches blended, as `qasir.scoring` defines it."""
        whole, cells = self.branch_scores(video_ids, grid_size, queries)
        weight = self.branches.super_image_weight(grid_size)
        return weight * whole + (1 - weight) * cells

    def branch_scores(
        self, video_ids: Sequence[str], grid_size: int, queries: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Attention scores float32 [Q, V] over super images and over real cells."""
        batch = self._source.videos(video_ids, grid_size).to(self.device)
        units, real = self.units(batch), real_rows(batch.mask)
        tau, cell_tau = self.branches.taus(grid_size)
        cells = units[:, :, 1:].flatten(1, 2), real[:, :, 1:].flatten(1, 2)
        return (
            attention_scores(queries, units[:, :, 0], real[:, :, 0], tau),
            attention_scores(queries, *cells, cell_tau),
        )

    def units(self, batch: VideoBatch) -> Tensor:
        """Units float32 [B, S, 1+P, D], a video longer than W in windows side by side."""
        video = self.temporal_encoder()
        known = video.bridge(batch.features) if batch.known is None else batch.known
        count = batch.mask.shape[1]
        parts = [fold(x, self._window) for x in (batch.features, known, batch.mask)]
        folded = video.learned(*parts)
        learned = folded.reshape(len(batch.mask), -1, *folded.shape[2:])
        return video.join(known, learned[:, :count], batch.mask)

    def temporal_encoder(self) -> TemporalEncoder:
        """The video side, which is learned here."""
        video = self.retriever.video
        if not isinstance(video, TemporalEncoder):
            raise TypeError(f"a learner trains a TemporalEncoder, not {type(video).__name__}")
        return video

    def text_adapter(self) -> TextAdapter:
        """The text side, which is learned here."""
        text = self.retriever.text
        if not isinstance(text, TextAdapter):
            raise TypeError(f"a learner trains a TextAdapter, not {type(text).__name__}")
        return text


def fold(rows: Tensor, window: int) -> Tensor:
    """[B, S, ...] -> [B * ceil(S / W), W, ...], zeros where a last window is not full; as it is
    where it fits one window."""
    count = rows.shape[1]
    if count <= window:
        return rows
    missing = -count % window
    filler = rows.new_zeros(rows.shape[0], missing, *rows.shape[2:])
    return torch.cat([rows, filler], dim=1).reshape(-1, window, *rows.shape[2:])


def attention_scores(queries: Tensor, units: Tensor, real: Tensor, tau: Tensor) -> Tensor:
    """cos(q, sum_t softmax_t(q.u_t / tau) u_t) [Q, V] by Gram matrices, as `qasir.scoring`.

    queries [Q, D], units [V, T, D], real bool [V, T].
    """
    similarities = torch.matmul(units, queries.T).transpose(1, 2)
    hidden = (~real).to(units.dtype)[:, None] * MASKED
    weights = (similarities / tau + hidden).softmax(-1)
    grams = torch.matmul(units, units.transpose(1, 2))
    squares = (torch.matmul(weights, grams) * weights).sum(-1).clamp(min=SMALLEST_SQUARE)
    return ((weights * similarities).sum(-1) / squares.sqrt()).T
