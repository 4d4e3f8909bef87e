"""How good a learner is on a validation split, and how much of zero-shot its retriever keeps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qasir.metrics import ranks
from qasir.types import Float64, Int64
from training.batches import Captioned
from training.intervals import gains
from training.learner import Learner

VIDEO_BATCH = 32
WEIGHTS = tuple(step / 10 for step in range(11))


@dataclass(frozen=True)
class Validation:
    """Ranks int [Q] of every caption's own video, by grid size."""

    ranks: Mapping[int, Int64]

    @property
    def objectives(self) -> dict[int, float]:
        """R@1 + R@5 + R@10 by grid size."""
        return {n: float(gains(found).mean()) for n, found in self.ranks.items()}

    @property
    def objective(self) -> float:
        """Their mean: what selection maximises."""
        return float(np.mean(list(self.objectives.values())))


@torch.inference_mode()
def validate(learner: Learner, split: Captioned, grid_sizes: Sequence[int]) -> Validation:
    """Rank every caption's video among all videos of the split, at every grid size."""
    learner.eval()
    found = {}
    for grid_size in grid_sizes:
        whole, cells = _tables(learner, split, grid_size)
        weight = learner.branches.super_image_weight(grid_size)
        found[grid_size] = _ranks(weight * whole + (1 - weight) * cells, split)
    return Validation(found)


@torch.inference_mode()
def choose_weights(learner: Learner, split: Captioned, grid_sizes: Sequence[int]) -> None:
    """Set the weight of the super images at every grid size to `best_weight` on validation.

    Train cannot tell, since there both branches are fitted equally well.
    """
    learner.eval()
    for grid_size in grid_sizes:
        whole, cells = _tables(learner, split, grid_size)
        found = {w: gains(_ranks(w * whole + (1 - w) * cells, split)) for w in WEIGHTS}
        learner.branches.set_weight(grid_size, best_weight(found))


def best_weight(found: Mapping[float, Float64]) -> float:
    """The weight with the best mean of gains [Q], if both branches beat the better one by more
    than a standard error; otherwise that branch alone.

    Of a few hundred captions one of eleven weights is always best by chance: the rule of
    Breiman et al. (1984), where the simpler model is one branch.
    """
    alone = max((0.0, 1.0), key=lambda weight: found[weight].mean())
    best = max(sorted(found, key=lambda w: abs(w - 0.5)), key=lambda weight: found[weight].mean())
    better = found[best] - found[alone]
    return best if better.mean() > better.std() / len(better) ** 0.5 else alone


def _tables(learner: Learner, split: Captioned, grid_size: int) -> tuple[Tensor, Tensor]:
    """Scores [Q, V] of either branch."""
    queries = learner.queries(split.texts)
    ids = split.video_ids
    parts = [
        learner.branch_scores(ids[first : first + VIDEO_BATCH], grid_size, queries)
        for first in range(0, len(ids), VIDEO_BATCH)
    ]
    whole, cells = zip(*parts, strict=True)
    return torch.cat(whole, dim=1), torch.cat(cells, dim=1)


def _ranks(scores: Tensor, split: Captioned) -> Int64:
    return ranks(scores.float().cpu().numpy(), split.owners)


def try_residual_ratios(
    learner: Learner, split: Captioned, grid_sizes: Sequence[int], candidates: Sequence[float]
) -> dict[float, Validation]:
    """Validation at every candidate ratio, ascending; the learner is left at the chosen one."""
    curve = {}
    for ratio in sorted(candidates):
        learner.retriever.set_residual_ratio(ratio)
        curve[ratio] = validate(learner, split, grid_sizes)
    learner.retriever.set_residual_ratio(best_ratio(curve))
    return curve


def best_ratio(curve: Mapping[float, Validation]) -> float:
    """The ratio with the best objective, of equals the largest: it keeps more of zero-shot.

    A larger one is not needed to remember: strange queries keep all of zero-shot by themselves.
    """
    # Rounded, since means of equal ranks may differ in their last bit.
    return max(curve, key=lambda ratio: (round(curve[ratio].objective, 6), ratio))
