"""Features of one window of super images to units, the vectors that a query meets.

A unit is a whole super image (row 0) or one of its cells (row 1 + p, row-major).

    zero-shot    unit = bridge(features)
    fine-tuned   unit = sqrt(1/2) [bridge(features), learned(features, window, N)]

How much each half counts is for the query to say, see `qasir.modeling.adapters`. N and S are
read from the shapes, so one graph serves every grid size and window.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qasir.config import RetrieverParams
from qasir.modeling.adapters import HALF, GridAdapter
from qasir.modeling.window_context import WindowContext, real_rows


class ZeroShot(nn.Module):
    """The bridge alone: what the backbone knows, and nothing learned."""

    def __init__(self, bridge: nn.Module) -> None:
        super().__init__()
        self.bridge = bridge

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """float32 [B, S, 1+P, F'], bool [B, S, N, N] -> float32 [B, S, 1+P, D0], zero where padded.

        An item of the batch is a window; a super image without a real cell is padding.
        """
        embeddings: Tensor = self.bridge(features) * real_rows(mask).unsqueeze(-1)
        return embeddings


class TemporalEncoder(nn.Module):
    """The zero-shot half beside the learned half of every unit."""

    def __init__(
        self,
        bridge: nn.Module,
        feature_dim: int,
        dim: int,
        params: RetrieverParams,
        grid_sizes: Sequence[int],
    ) -> None:
        """`dim` is D0; `params` says how large the learned half is and what is in it."""
        super().__init__()
        self.bridge = bridge
        self.learned = LearnedEmbeddings(feature_dim, dim, params, grid_sizes)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """float32 [B, S, 1+P, F'], bool [B, S, N, N] -> float32 [B, S, 1+P, D0 + D1]."""
        known = self.bridge(features)
        return self.join(known, self.learned(features, known, mask), mask)

    def join(self, known: Tensor, learned: Tensor, mask: Tensor) -> Tensor:
        """Both halves side by side, [.., D0] and [.., D1] -> [.., D0 + D1], zero where padded."""
        return HALF * torch.cat([known, learned], dim=-1) * real_rows(mask).unsqueeze(-1)


class LearnedEmbeddings(nn.Module):
    """Adapter of this grid size, then what the window around a unit adds to it."""

    def __init__(
        self, feature_dim: int, dim: int, params: RetrieverParams, grid_sizes: Sequence[int]
    ) -> None:
        super().__init__()
        outputs = learned_dim(dim, params)
        self.dropout = nn.Dropout(params.dropout)
        self.adapter = (
            GridAdapter(feature_dim, outputs, grid_sizes, shared=not params.grid_embedding)
            if params.image_adapter
            else None
        )
        self.context = WindowContext(outputs, params) if params.temporal_encoder else None

    def forward(self, features: Tensor, known: Tensor, mask: Tensor) -> Tensor:
        """float32 [B, S, 1+P, F'], [B, S, 1+P, D0], bool [B, S, N, N] -> unit vectors
        [B, S, 1+P, D1]."""
        x = known if self.adapter is None else self.adapter(self.dropout(features), mask)
        x = nn.functional.normalize(x, dim=-1)
        if self.context is not None:
            x = nn.functional.normalize(self.context(x, mask), dim=-1)
        return x


def learned_dim(dim: int, params: RetrieverParams) -> int:
    """D1: a side without adapter stays in the space of the towers, and the other joins it."""
    return params.dim if params.image_adapter and params.text_adapter else dim
