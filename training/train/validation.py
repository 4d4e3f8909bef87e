"""Ranks a validation split during training and chooses what depends on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from qasir.metrics import ranks
from qasir.types import Float64, Int64
from training.evaluate.fusion import WEIGHTS
from training.evaluate.measures import gains
from training.train.batches import CaptionDataset
from training.train.trainable_retriever import TrainableRetriever

VIDEO_BATCH = 32


@dataclass(frozen=True)
class Validation:
    """Ranks int [Q] of every caption's video, by grid size."""

    ranks: Mapping[int, Int64]

    @property
    def objectives(self) -> dict[int, float]:
        """Returns R@1 + R@5 + R@10 by grid size."""
        return {n: float(gains(found).mean()) for n, found in self.ranks.items()}

    @property
    def objective(self) -> float:
        """Returns their mean, which selection maximises."""
        return float(np.mean(list(self.objectives.values())))


@torch.inference_mode()
def validate(
    trainable: TrainableRetriever, split: CaptionDataset, grid_sizes: Sequence[int]
) -> Validation:
    """Ranks every caption's video among all videos of the split, at every grid size."""
    trainable.eval()
    found = {}
    for grid_size in grid_sizes:
        whole, cells = _tables(trainable, split, grid_size)
        weight = trainable.branches.super_image_weight(grid_size)
        found[grid_size] = _ranks(weight * whole + (1 - weight) * cells, split)
    return Validation(found)


@torch.inference_mode()
def choose_weights(
    trainable: TrainableRetriever, split: CaptionDataset, grid_sizes: Sequence[int]
) -> None:
    """Sets the weight of the super images at every grid size to `best_weight` on validation.

    The train split cannot tell, because both branches fit it equally well.
    """
    trainable.eval()
    for grid_size in grid_sizes:
        whole, cells = _tables(trainable, split, grid_size)
        found = {w: gains(_ranks(w * whole + (1 - w) * cells, split)) for w in WEIGHTS}
        trainable.branches.set_weight(grid_size, best_weight(found))


def best_weight(found: Mapping[float, Float64]) -> float:
    """Returns the weight with the best mean of gains [Q], or the better branch alone.

    Both branches have to beat the better one by more than a standard error: on a few hundred
    captions some weight always wins by chance. This is the rule of Breiman et al. (1984) with
    one branch as the simpler model.
    """
    alone = max((0.0, 1.0), key=lambda weight: found[weight].mean())
    best = max(sorted(found, key=lambda w: abs(w - 0.5)), key=lambda weight: found[weight].mean())
    better = found[best] - found[alone]
    return best if better.mean() > better.std() / len(better) ** 0.5 else alone


def _tables(
    trainable: TrainableRetriever, split: CaptionDataset, grid_size: int
) -> tuple[Tensor, Tensor]:
    """Returns the scores [Q, V] of each branch."""
    queries = trainable.queries(split.texts)
    ids = split.video_ids
    parts = [
        trainable.branch_scores(ids[first : first + VIDEO_BATCH], grid_size, queries)
        for first in range(0, len(ids), VIDEO_BATCH)
    ]
    whole, cells = zip(*parts, strict=True)
    return torch.cat(whole, dim=1), torch.cat(cells, dim=1)


def _ranks(scores: Tensor, split: CaptionDataset) -> Int64:
    return ranks(scores.float().cpu().numpy(), split.owners)


def try_residual_ratios(
    trainable: TrainableRetriever,
    split: CaptionDataset,
    grid_sizes: Sequence[int],
    candidates: Sequence[float],
) -> dict[float, Validation]:
    """Validates every candidate ratio, ascending, and leaves the retriever at the best one."""
    curve = {}
    for ratio in sorted(candidates):
        trainable.retriever.set_residual_ratio(ratio)
        curve[ratio] = validate(trainable, split, grid_sizes)
    trainable.retriever.set_residual_ratio(best_ratio(curve))
    return curve


def best_ratio(curve: Mapping[float, Validation]) -> float:
    """Returns the ratio with the best objective; ties go to the largest, closest to zero-shot.

    Queries unlike the training captions use zero-shot at any ratio.
    """
    # Rounded, because means of equal ranks may differ in their last bit.
    return max(curve, key=lambda ratio: (round(curve[ratio].objective, 6), ratio))
