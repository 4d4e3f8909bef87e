"""What is learned on either tower: a linear adapter per grid size, and one for captions.

Units and queries carry the zero-shot half and the learned half side by side. Both halves of a
unit weigh the same; a query says how much of each it wants:

    unit  = sqrt(1/2) [ zero-shot,    learned ]
    query = normalise [ r zero-shot, (1 - r) learned ]

so q.u goes with r x zero-shot similarity + (1 - r) x learned similarity, and an index does not
depend on r. A constant r (WiSE-FT, arXiv 2109.01903; CLIP-Adapter, arXiv 2110.04544) either
forgets or learns little; here r grows to 1, zero-shot alone, where a query looks like nothing
in the training captions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qasir.config import MAX_GRID_SIZE

HALF = 0.5**0.5
SMALLEST_LENGTH = 1e-6


class GridAdapter(nn.Module):
    """Features to D1 by a linear map of their own for super images and for cells at every N.

    This is how the grid size is embedded: not a vector that is added, a map that is chosen.
    """

    rows: Tensor

    def __init__(
        self, feature_dim: int, dim: int, grid_sizes: Sequence[int], *, shared: bool
    ) -> None:
        """`shared`: one map for all grid sizes, still two kinds; for comparison."""
        super().__init__()
        self.shared = shared
        rows = torch.zeros(MAX_GRID_SIZE + 1, dtype=torch.int64)
        if not shared:
            rows[list(grid_sizes)] = torch.arange(len(grid_sizes))
        count = 1 if shared else max(1, len(grid_sizes))
        self.register_buffer("rows", rows)
        self.weight = nn.Parameter(torch.randn(count, 2, feature_dim, dim) * feature_dim**-0.5)
        self.bias = nn.Parameter(torch.zeros(count, 2, dim))

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """float32 [B, S, 1+P, F'], bool [B, S, N, N] -> float32 [B, S, 1+P, D1]."""
        # The length of a range is a shape turned into an index that a trace follows.
        row = self.rows[torch.arange(mask.shape[-1] + 1, device=mask.device)[-1:]]
        weight, bias = self.weight[row].squeeze(0), self.bias[row].squeeze(0)
        whole = features[:, :, :1] @ weight[0] + bias[0]
        cells = features[:, :, 1:] @ weight[1] + bias[1]
        return torch.cat([whole, cells], dim=2)

    @torch.no_grad()
    def set(self, grid_size: int, kind: int, weight: Tensor, bias: Tensor) -> None:
        """Write one map: kind 0 super images, 1 cells; weight [F', D1], bias [D1]."""
        row = int(self.rows[grid_size])
        self.weight[row, kind].copy_(weight)
        self.bias[row, kind].copy_(bias)


class OutOfDistributionGate(nn.Module):
    """How far a query lies outside what the training captions span, from 0 to 1.

    0 up to edge `low` of the share of the query that no direction of the captions holds, 1 from
    `high` on.
    """

    mean: Tensor
    directions: Tensor
    edges: Tensor

    def __init__(self, dim: int, directions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("directions", torch.zeros(dim, directions))
        # Before it is fitted nothing is strange.
        self.register_buffer("edges", torch.tensor([1.0, 2.0]))

    def ood_score(self, queries: Tensor) -> Tensor:
        """The share of unit vectors [Q, D0] that lies outside the captions' directions: [Q, 1]."""
        offset = queries - self.mean
        outside = offset - (offset @ self.directions) @ self.directions.T
        length = offset.norm(dim=-1, keepdim=True).clamp(min=SMALLEST_LENGTH)
        share: Tensor = outside.norm(dim=-1, keepdim=True) / length
        return share

    def forward(self, queries: Tensor) -> Tensor:
        """Unit vectors float32 [Q, D0] -> float32 [Q, 1], 0 familiar to 1 strange."""
        low, high = self.edges[0], self.edges[1]
        return ((self.ood_score(queries) - low) / (high - low)).clamp(0.0, 1.0)


class TextAdapter(nn.Module):
    """Zero-shot query vectors to queries of both halves."""

    residual_ratio: Tensor

    def __init__(self, dim: int, outputs: int, *, adapts: bool, dropout: float) -> None:
        """`dim` D0, `outputs` D1; `adapts` False leaves the learned half in zero-shot space."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(dim, outputs) if adapts else nn.Identity()
        self.familiarity = OutOfDistributionGate(dim, min(outputs, dim))
        self.register_buffer("residual_ratio", torch.zeros(()))

    def forward(self, query: Tensor) -> Tensor:
        """Unit vectors float32 [Q, D0] -> unit vectors float32 [Q, D0 + D1]."""
        kept = self.residual_ratio
        ratio = kept + (1 - kept) * self.familiarity(query)
        halves = torch.cat([ratio * query, (1 - ratio) * self.learned(query)], dim=-1)
        return nn.functional.normalize(halves, dim=-1)

    def learned(self, query: Tensor) -> Tensor:
        """Unit vectors float32 [Q, D0] -> unit vectors float32 [Q, D1]."""
        return nn.functional.normalize(self.project(self.dropout(query)), dim=-1)
