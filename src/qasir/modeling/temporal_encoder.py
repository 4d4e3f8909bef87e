"""Turn the features of one window of super images into embeddings that a query is compared with.

Row 0 of a super image is the whole picture, row 1 + p its cell p (row-major).

    zero-shot    embedding = bridge(features)
    fine-tuned   embedding = sqrt(1/2) [bridge(features), learned(features, window, N)]

The query decides how much each half counts, see `qasir.modeling.adapters`. N and S are read
from the shapes, so one graph serves every grid size and window.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qasir.config import RetrieverParams
from qasir.modeling.adapters import HALF, GridAdapter

MASKED = -1e9
# Longer than any window: the largest has 1024 super images of 8 x 8 frames.
LONGEST_PERIOD = 2.0**16


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


def real_rows(mask: Tensor) -> Tensor:
    """Return which rows are real, bool [..., S, 1+P], from a mask [..., S, N, N].

    Row 0, the super image, is real if any of its cells is.
    """
    cells = mask.flatten(-2)
    return torch.cat([cells.any(-1, keepdim=True), cells], dim=-1)


class WindowContext(nn.Module):
    """x + gate * transformer(x + time), over all super images and cells of a window.

    The gate starts at 0, so training starts without it.
    """

    def __init__(self, width: int, params: RetrieverParams) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            Layer(width, params.heads, params.dropout) for _ in range(params.layers)
        )
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """float32 [B, S, 1+P, H], bool [B, S, N, N] -> float32 [B, S, 1+P, H]."""
        rows = (x + time_position(mask, x.shape[-1])).flatten(1, 2)
        # Added instead of -inf, which would give NaN in a window of padding only.
        hidden = (1.0 - real_rows(mask).flatten(1).to(x.dtype)) * MASKED
        for layer in self.layers:
            rows = layer(rows, hidden)
        context: Tensor = self.norm(rows).view_as(x)
        return x + self.gate * context


class Layer(nn.Module):
    """Pre-norm self-attention and MLP (Vaswani et al., arXiv 1706.03762).

    Attention is written out because the fast paths of `nn.MultiheadAttention` turn shapes and
    masks into constants of a traced graph.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.before_attention = nn.LayerNorm(width)
        self.before_mlp = nn.LayerNorm(width)
        self.inputs = nn.Linear(width, 3 * width)
        self.outputs = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 2 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * width, width)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Rows float32 [B, T, H]; `hidden` [B, T] is added to the logits of each key."""
        x = x + self.dropout(self.attend(self.before_attention(x), hidden))
        rows: Tensor = x + self.dropout(self.mlp(self.before_mlp(x)))
        return rows

    def attend(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Apply self-attention to normalised rows [B, T, H]."""
        queries, keys, values = self._split(self.inputs(x))
        logits = queries @ keys.transpose(-1, -2) / math.sqrt(queries.shape[-1])
        weights = (logits + hidden[:, None, None]).softmax(-1)
        attended: Tensor = self.outputs((weights @ values).transpose(1, 2).flatten(2))
        return attended

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """[B, T, 3H] -> queries, keys and values, each [B, heads, T, H / heads]."""
        parts = x.view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        return parts[0], parts[1], parts[2]


def time_position(mask: Tensor, width: int) -> Tensor:
    """Return sinusoids [S, 1+P, width] of the frame index in the window; a super image has the
    mean index of its frames."""
    cells = mask.shape[-1] * mask.shape[-2]
    frames = torch.arange(cells, device=mask.device, dtype=torch.float32)
    within = torch.cat([frames.mean(0, keepdim=True), frames])
    first = torch.arange(mask.shape[1], device=mask.device, dtype=torch.float32) * cells
    steps = torch.arange(width // 2, dtype=torch.float32) / (width // 2)
    frequencies = torch.exp(-math.log(LONGEST_PERIOD) * steps).to(mask.device)
    angles = (first[:, None] + within)[..., None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
