"""The torch side of retrieval: what follows the towers, as graphs for export.

The numpy twin, `qasir.scoring`, is the reference; parity is tested.
"""

import torch
from torch import Tensor, nn


class TemporalEncoder(nn.Module):
    """A window of super-image vectors [S, D] -> one item of units [1, S, D], fp32 and fp16.

    Zero-shot QASIR has no learned layer here and vectors pass through; the leading 1 turns a
    batch of pictures into one video for the models that follow. Fine-tuning replaces it.
    """

    def forward(self, vectors: Tensor) -> tuple[Tensor, Tensor]:
        units = vectors.unsqueeze(0)
        return units, units.to(torch.float16)


class AttentionScorer(nn.Module):
    """Query attention (QASIR): a = softmax_m(u_m.q / tau + w_m); score = cos(q, sum_m a_m u_m).

    Units of several videos share one axis M, and log_weights say which video c a unit belongs
    to: 0 = yes, NOT_A_UNIT = no, anything else = the prior of an aggregate of units.
    """

    tau: Tensor

    def __init__(self, tau: float) -> None:
        super().__init__()
        self.register_buffer("tau", torch.tensor(tau, dtype=torch.float32))

    def forward(self, query: Tensor, units: Tensor, log_weights: Tensor) -> tuple[Tensor, Tensor]:
        """float32 [B, D], float16 [B, M, D], float32 [B, C, M] -> [B, C], [B, C, M]."""
        vectors = units.to(torch.float32)
        similarities = torch.matmul(vectors, query.unsqueeze(-1)).squeeze(-1)
        attention = ((similarities / self.tau).unsqueeze(1) + log_weights).softmax(-1)
        attended = torch.matmul(attention, vectors)
        dots = torch.matmul(attended, query.unsqueeze(-1)).squeeze(-1)
        norms = attended.norm(dim=-1) * query.norm(dim=-1, keepdim=True)
        return dots / norms.clamp(min=1e-12), attention
