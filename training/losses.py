"""Losses over the scores of Q captions and V videos, a caption belonging to one video.

Captions of one video are never each other's negatives: a video answers all of them.
"""

import torch
from torch import Tensor

from qasir.config import TripletParams

NEVER = -1e9


def contrastive(scores: Tensor, owners: Tensor) -> Tensor:
    """Symmetric multi-caption InfoNCE of scaled scores [Q, V] and owners int64 [Q].

    From a caption, its video against the other videos; from a video, each of its captions
    against the captions of other videos.

    >>> contrastive(torch.tensor([[9.0, -9.0], [-9.0, 9.0]]), torch.tensor([0, 1])).item() < 1e-6
    True
    """
    own = scores.gather(1, owners[:, None]).squeeze(1)
    to_video = scores.logsumexp(dim=1) - own
    strangers = scores.masked_fill(_owned(scores, owners), NEVER).logsumexp(dim=0)
    to_caption = torch.logaddexp(own, strangers[owners]) - own
    return (to_video.mean() + to_caption.mean()) / 2


def triplet(scores: Tensor, owners: Tensor, params: TripletParams, hardest: bool) -> Tensor:
    """Hinge on cosine scores [Q, V] with one drawn negative each way, as MS-SL does (arXiv
    2208.12510): from all of them, or from the `params.hardest` highest where `hardest`."""
    owned = _owned(scores, owners)
    own = scores.gather(1, owners[:, None]).squeeze(1)
    strangers = scores.masked_fill(owned, NEVER)
    limit = params.hardest if hardest else scores.numel()
    video, caption = _drawn(strangers, limit), _drawn(strangers.T, limit)[owners]
    hinges = [(params.margin - own + negative).clamp(min=0) for negative in (video, caption)]
    return (hinges[0].mean() + hinges[1].mean()) / 2


def _owned(scores: Tensor, owners: Tensor) -> Tensor:
    """Which video is whose, bool [Q, V]."""
    return owners[:, None] == torch.arange(scores.shape[1], device=scores.device)


def _drawn(strangers: Tensor, limit: int) -> Tensor:
    """One of the `limit` highest scores of every row, float32 [rows]."""
    real = (strangers > NEVER / 2).sum(1).clamp(min=1, max=limit)
    place = (torch.rand(len(strangers), device=strangers.device) * real).long().minimum(real - 1)
    return strangers.sort(dim=1, descending=True).values.gather(1, place[:, None]).squeeze(1)
