"""Fits the adapters in closed form, as the start of training.

On few videos, gradient descent from a random start learns the strong directions of the features
and then memorises the videos. Ridge regression on whitened features does not:

    at the smallest N, repeat:   each caption attends over the frames of its own video;
                                 regress attended features on whitened captions
    at every other N and kind:   regress the same attention, moved by time, on the captions, and
                                 every embedding on the mean of its frames at the smallest N

This is expectation-maximisation over the frame that a caption describes; annotated moments are
not used. A cell at N is a frame, so the clearest view of a frame teaches the smaller ones
(distillation, arXiv 1503.02531, between views of one network).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from qasir.modeling.adapters import TextAdapter
from qasir.modeling.temporal_encoder import LearnedEmbeddings
from training.train.batches import CaptionDataset, FeatureProvider

ROUNDS = 10
TEMPERATURE = 0.1
RIDGE = 1.0
# Weak directions of a covariance are noise: this share of the mean is added to each variance.
SHRINKAGE = 0.1
VIEW_WEIGHT = 0.5
FAMILIAR_QUANTILE = 0.95
# More videos would add little to a fit of a few hundred directions.
LARGEST_SAMPLE = 1000


@dataclass(frozen=True)
class Whitening:
    """x -> (x - mean) @ matrix: mean [F], matrix [F, H]."""

    mean: Tensor
    matrix: Tensor

    def __call__(self, rows: Tensor) -> Tensor:
        return (rows - self.mean) @ self.matrix


@dataclass(frozen=True)
class Rows:
    """One video's real rows of one kind at one N: features [T, F'] and the frames in each.

    frames: float32 [T, F], 1 where frame f lies in row t.
    """

    features: Tensor
    frames: Tensor


Kind = Literal[0, 1]
SUPER_IMAGE: Kind = 0
CELL: Kind = 1


@torch.no_grad()
def align(
    units: LearnedEmbeddings,
    text: TextAdapter,
    split: CaptionDataset,
    provider: FeatureProvider,
    grid_sizes: Sequence[int],
    directions: int,
) -> None:
    """Fits both adapters, keeping `directions` of the features.

    Without one of the adapters the other starts as the identity on the towers' space.
    """
    if units.adapter is None:
        if isinstance(text.project, nn.Linear):
            nn.init.eye_(text.project.weight)
            nn.init.zeros_(text.project.bias)
        return
    chosen = sample(split)
    vectors = provider.queries(split.texts).cpu()
    if isinstance(text.project, nn.Linear):
        # The text adapter whitens captions.
        whitening = whiten(vectors, text.project.out_features)
        kept = whitening.matrix.shape[1]
        text.project.weight.zero_()[:kept] = whitening.matrix.T
        text.project.bias.zero_()[:kept] = -whitening.mean @ whitening.matrix
    vectors = nn.functional.normalize(text.project(vectors), dim=-1)
    captions = [vectors[torch.from_numpy(split.owners == place)] for place in chosen]
    ids = [split.video_ids[place] for place in chosen]
    rows = {n: _read(provider, ids, n) for n in grid_sizes}
    # The kind of rows that show one frame: whole pictures at N = 1, else cells.
    clear = rows[min(grid_sizes)][SUPER_IMAGE if min(grid_sizes) == 1 else CELL]
    attention = attend(clear, captions, directions)
    weight, bias = regress([RegressionTarget(clear, attention, captions)], directions)
    views = [nn.functional.normalize(v.features @ weight + bias, dim=-1) for v in clear]
    groups = [tuple(grid_sizes)] if units.adapter.shared else [(n,) for n in grid_sizes]
    for group, kind in product(groups, (SUPER_IMAGE, CELL)):
        targets = [
            RegressionTarget(
                rows[n][kind], attention, captions, None if n == min(grid_sizes) else views
            )
            for n in group
        ]
        units.adapter.set(group[0], kind, *regress(targets, directions))


def sample(split: CaptionDataset) -> list[int]:
    """Returns the positions of the videos to fit: all, or a sample that bounds memory."""
    count = len(split.video_ids)
    if count <= LARGEST_SAMPLE:
        return list(range(count))
    drawn = np.random.default_rng(0).choice(count, LARGEST_SAMPLE, replace=False)
    return sorted(drawn.tolist())


@torch.no_grad()
def fit_familiarity(text: TextAdapter, captions: Tensor, unseen: Tensor) -> None:
    """Fits the gate to the span of training captions [Q, D0] and to `unseen`, those of validation.

    The edges are a high quantile and the maximum of how far unseen captions lie outside the span.
    """
    familiarity = text.familiarity
    mean, directions, _ = principal(captions, familiarity.directions.shape[1])
    familiarity.mean.copy_(mean)
    familiarity.directions[:, : directions.shape[1]] = directions
    found = familiarity.ood_score(unseen).flatten()
    low, high = found.quantile(FAMILIAR_QUANTILE), found.max()
    familiarity.edges.copy_(torch.stack([low, torch.maximum(high, low + 1e-3)]))


def principal(rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Returns mean [F], the first `count` principal directions [F, H], their variances [H]."""
    mean = rows.mean(0)
    offsets = rows - mean
    variances, directions = torch.linalg.eigh(offsets.T @ offsets / len(rows))
    return mean, directions.flip(1)[:, :count], variances.flip(0)[:count]


def whiten(rows: Tensor, count: int) -> Whitening:
    """Scales the first `count` principal directions of rows [T, F] to equal variance."""
    mean, directions, variances = principal(rows, count)
    spread = variances.clamp(min=0) + SHRINKAGE * variances.mean()
    return Whitening(mean, directions / spread.sqrt().clamp(min=1e-6))


def ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """Returns weights [H, D1] from inputs [Q, H] to targets [Q, D1]."""
    penalty = RIDGE * len(inputs) * inputs.square().mean()
    squares = inputs.T @ inputs + penalty * torch.eye(inputs.shape[1])
    weights: Tensor = torch.linalg.solve(squares, inputs.T @ targets)
    return weights


def attend(videos: Sequence[Rows], captions: Sequence[Tensor], directions: int) -> list[Tensor]:
    """Returns every caption's attention over the frames of its video, [captions, F] per video.

    videos: one frame per row; captions: unit vectors [captions, D1] per video.
    """
    whitening = whiten(torch.cat([video.features for video in videos]), directions)
    inputs = [whitening(video.features) for video in videos]
    attention = [
        x.new_full((len(c), len(x)), 1 / len(x)) for c, x in zip(captions, inputs, strict=True)
    ]
    targets = torch.cat(list(captions))
    for _ in range(ROUNDS):
        attended = torch.cat([a @ x for a, x in zip(attention, inputs, strict=True)])
        weight = ridge(attended, targets)
        frames = [nn.functional.normalize(x @ weight, dim=-1) for x in inputs]
        attention = [
            (c @ f.T / TEMPERATURE).softmax(-1) for c, f in zip(captions, frames, strict=True)
        ]
    return attention


@dataclass(frozen=True)
class RegressionTarget:
    """The targets of one kind of rows at one N, by video.

    attention: of captions over frames [captions, F]; captions: unit vectors [captions, D1];
    views: unit vectors [F, D1] that were learned from the clearest view of each frame.
    """

    videos: Sequence[Rows]
    attention: Sequence[Tensor]
    captions: Sequence[Tensor]
    views: Sequence[Tensor] | None = None

    def pairs(self, whitening: Whitening) -> tuple[Tensor, Tensor]:
        """Returns inputs [rows, H] and their target unit vectors [rows, D1]."""
        inputs = [whitening(video.features) for video in self.videos]
        moved = [
            _moved(weights, video.frames) @ x
            for weights, video, x in zip(self.attention, self.videos, inputs, strict=True)
        ]
        if self.views is None:
            return torch.cat(moved), torch.cat(list(self.captions))
        seen = [
            nn.functional.normalize(_moved(video.frames, view.T), dim=-1)
            for video, view in zip(self.videos, self.views, strict=True)
        ]
        # A row counts less than a caption: there are many, and their frames were inferred.
        return (
            torch.cat([*moved, *(VIEW_WEIGHT * x for x in inputs)]),
            torch.cat([*self.captions, *(VIEW_WEIGHT * view for view in seen)]),
        )


def regress(targets: Sequence[RegressionTarget], directions: int) -> tuple[Tensor, Tensor]:
    """Returns weight [F', D1] and bias [D1] of one map for all targets."""
    features = [video.features for target in targets for video in target.videos]
    whitening = whiten(torch.cat(features), directions)
    pairs = [target.pairs(whitening) for target in targets]
    inputs, outputs = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    weight = whitening.matrix @ ridge(inputs, outputs)
    return weight, -whitening.mean @ weight


def _moved(left: Tensor, right: Tensor) -> Tensor:
    """Computes left [A, F] @ right.T [F, B] over the frames that both have.

    The last frames of a video may be missing at one N.
    """
    count = min(left.shape[1], right.shape[1])
    return left[:, :count] @ right[:, :count].T


def _read(
    provider: FeatureProvider, video_ids: Sequence[str], grid_size: int
) -> dict[Kind, list[Rows]]:
    """Reads the real rows of every video, by kind."""
    rows: dict[Kind, list[Rows]] = {SUPER_IMAGE: [], CELL: []}
    for video_id in video_ids:
        batch = provider.videos([video_id], grid_size)
        features, cells = batch.features[0].cpu(), batch.mask[0].flatten(1).cpu()
        # Frame number of every cell; -1 if padded.
        numbers = torch.where(cells, cells.flatten().cumsum(0).view_as(cells) - 1, -1)
        inside = numbers[:, :, None] == torch.arange(int(cells.sum()))
        rows[SUPER_IMAGE].append(Rows(features[:, 0], inside.any(1).float()))
        rows[CELL].append(Rows(features[:, 1:][cells], inside[cells].float()))
    return rows
