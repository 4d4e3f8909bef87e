"""Linear adapters on both towers: one for each grid size, and one for captions.

Embeddings and queries hold a zero-shot half and a learned half side by side. Both halves of an
embedding have the same weight; the query decides how much of each counts:

    embedding = sqrt(1/2) [ zero-shot,    learned ]
    query     = normalise [ r zero-shot, (1 - r) learned ]

Their product is proportional to r x zero-shot similarity + (1 - r) x learned similarity, and
an index does not depend on r. A constant r (WiSE-FT, arXiv 2109.01903; CLIP-Adapter,
arXiv 2110.04544) either forgets or learns little. Here r grows to 1, zero-shot alone, for
queries unlike the training captions.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qasir.config import MAX_GRID_SIZE

HALF = 0.5**0.5
SMALLEST_LENGTH = 1e-6


class GridAdapter(nn.Module):
    """Map features to D1 with one linear map for each grid size and kind (super image or cell).

    So the grid size is not embedded as an added vector: it selects the map.
    """

    rows: Tensor

    def __init__(
        self, feature_dim: int, dim: int, grid_sizes: Sequence[int], *, shared: bool
    ) -> None:
        """Create the maps; with `shared`, all grid sizes share one of each kind, for ablations."""
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
        # N read as the length of a range, so that a traced graph follows the shape.
        row = self.rows[torch.arange(mask.shape[-1] + 1, device=mask.device)[-1:]]
        weight, bias = self.weight[row].squeeze(0), self.bias[row].squeeze(0)
        whole = features[:, :, :1] @ weight[0] + bias[0]
        cells = features[:, :, 1:] @ weight[1] + bias[1]
        return torch.cat([whole, cells], dim=2)

    @torch.no_grad()
    def set(self, grid_size: int, kind: int, weight: Tensor, bias: Tensor) -> None:
        """Set one map: kind 0 super images, 1 cells; weight [F', D1], bias [D1]."""
        row = int(self.rows[grid_size])
        self.weight[row, kind].copy_(weight)
        self.bias[row, kind].copy_(bias)


class OutOfDistributionGate(nn.Module):
    """Score from 0 to 1 how far a query lies outside the span of the training captions.

    The share of the query outside the captions' directions is scaled so that `low` becomes 0 and
    `high` becomes 1.
    """

    mean: Tensor
    directions: Tensor
    edges: Tensor

    def __init__(self, dim: int, directions: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("directions", torch.zeros(dim, directions))
        # Until the edges are fitted, no query is out of distribution.
        self.register_buffer("edges", torch.tensor([1.0, 2.0]))

    def ood_score(self, queries: Tensor) -> Tensor:
        """Return the share of unit vectors [Q, D0] outside the captions' directions, [Q, 1]."""
        offset = queries - self.mean
        outside = offset - (offset @ self.directions) @ self.directions.T
        length = offset.norm(dim=-1, keepdim=True).clamp(min=SMALLEST_LENGTH)
        share: Tensor = outside.norm(dim=-1, keepdim=True) / length
        return share

    def forward(self, queries: Tensor) -> Tensor:
        """Unit vectors float32 [Q, D0] -> float32 [Q, 1], from 0 in to 1 out of distribution."""
        low, high = self.edges[0], self.edges[1]
        return ((self.ood_score(queries) - low) / (high - low)).clamp(0.0, 1.0)


class TextAdapter(nn.Module):
    """Extend zero-shot query vectors by their learned half."""

    residual_ratio: Tensor

    def __init__(self, dim: int, outputs: int, *, adapts: bool, dropout: float) -> None:
        """Map D0 = `dim` to D1 = `outputs`; without `adapts` both halves are the zero-shot one."""
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.project = nn.Linear(dim, outputs) if adapts else nn.Identity()
        self.familiarity = OutOfDistributionGate(dim, min(outputs, dim))
        self.register_buffer("residual_ratio", torch.zeros(()))

    def forward(self, query: Tensor) -> Tensor:
        """Unit vectors float32 [Q, D0] -> unit vectors float32 [Q, D0 + D1]."""
        minimum = self.residual_ratio
        ratio = minimum + (1 - minimum) * self.familiarity(query)
        halves = torch.cat([ratio * query, (1 - ratio) * self.learned(query)], dim=-1)
        return nn.functional.normalize(halves, dim=-1)

    def learned(self, query: Tensor) -> Tensor:
        """Unit vectors float32 [Q, D0] -> unit vectors float32 [Q, D1]."""
        return nn.functional.normalize(self.project(self.dropout(query)), dim=-1)
