"""Turn the features of one window of super images into embeddings that a query is compared with.

Row 0 of a super image is the whole picture, row 1 + p its cell p (row-major).

    zero-shot    embedding = bridge(features)
    fine-tuned   embedding = sqrt(1/2) [bridge(features), learned(features, window, N)]

The query decides how much each half counts, see `qasir.modeling.adapters`. N and S are read
from the shapes, so one graph serves every grid size and window.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qasir.config import RetrieverParams
from qasir.modeling.adapters import HALF, GridAdapter
from qasir.modeling.window_context import WindowContext, real_rows


class ZeroShot(nn.Module):
    """The bridge of the backbone alone, without trained parts."""

    def __init__(self, bridge: nn.Module) -> None:
        super().__init__()
        self.bridge = bridge

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """float32 [B, S, 1+P, F'], bool [B, S, N, N] -> float32 [B, S, 1+P, D0], zero where padded.

        Each item of the batch is a window; a super image without a real cell is padding.
        """
        embeddings: Tensor = self.bridge(features) * real_rows(mask).unsqueeze(-1)
        return embeddings


class TemporalEncoder(nn.Module):
    """Zero-shot and learned half of every embedding, side by side."""

    def __init__(
        self,
        bridge: nn.Module,
        feature_dim: int,
        dim: int,
        params: RetrieverParams,
        grid_sizes: Sequence[int],
    ) -> None:
        """Build the learned half as `params` says, for a backbone with D0 = `dim`."""
        super().__init__()
        self.bridge = bridge
        self.learned = LearnedEmbeddings(feature_dim, dim, params, grid_sizes)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """float32 [B, S, 1+P, F'], bool [B, S, N, N] -> float32 [B, S, 1+P, D0 + D1]."""
        zero_shot = self.bridge(features)
        return self.join(zero_shot, self.learned(features, zero_shot, mask), mask)

    def join(self, zero_shot: Tensor, learned: Tensor, mask: Tensor) -> Tensor:
        """Join halves [.., D0] and [.., D1] to [.., D0 + D1], zero where padded."""
        return HALF * torch.cat([zero_shot, learned], dim=-1) * real_rows(mask).unsqueeze(-1)


class LearnedEmbeddings(nn.Module):
    """The learned half: the adapter of this grid size, then context from the window."""

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

    def forward(self, features: Tensor, zero_shot: Tensor, mask: Tensor) -> Tensor:
        """float32 [B, S, 1+P, F'], [B, S, 1+P, D0], bool [B, S, N, N] -> unit vectors
        [B, S, 1+P, D1]."""
        x = zero_shot if self.adapter is None else self.adapter(self.dropout(features), mask)
        x = nn.functional.normalize(x, dim=-1)
        if self.context is not None:
            x = nn.functional.normalize(self.context(x, mask), dim=-1)
        return x


def learned_dim(dim: int, params: RetrieverParams) -> int:
    """Return D1; if one side has no adapter, both halves stay in the space of the towers."""
    return params.dim if params.image_adapter and params.text_adapter else dim
