"""Where training starts: adapters fitted in closed form to captions that find their moments.

With 150 videos gradient descent from a random start learns the few strong directions of a
feature and then the videos by heart. Ridge regression on whitened features does not:

    at the smallest N, repeat:   a caption attends over the frames of its own video,
                                 attended features -> whitened caption, by ridge regression
    at every other N and kind:   the same attention, moved there by time, -> the caption, and
                                 every unit -> the mean of what its frames are at the smallest N

It is expectation-maximisation over which frame a caption speaks of; no moment is ever told. A
cell at N is a frame, so what is known of a frame where it is seen best teaches how to read it
where it is small (distillation, arXiv 1503.02531, between views of one network).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from qasir.modeling.adapters import TextAdapter
from qasir.modeling.temporal_encoder import LearnedEmbeddings
from training.batches import Captioned, Source

ROUNDS = 10
TEMPERATURE = 0.1
RIDGE = 1.0
# Weak directions of a covariance are noise: each is kept as if this share of the mean stronger.
SHRINKAGE = 0.1
VIEW_WEIGHT = 0.5
FAMILIAR_QUANTILE = 0.95
# Videos fitted to: more would say little new of some hundred directions.
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
    """One video's real units of one kind at one N: features [T, F'] and the frames each holds.

    frames: float32 [T, F], 1 where a frame of the video lies in the unit.
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
    split: Captioned,
    source: Source,
    grid_sizes: Sequence[int],
    directions: int,
) -> None:
    """Fit both adapters; `directions` of a feature are kept.

    Without one of the adapters the other starts in the space of the towers.
    """
    if units.adapter is None:
        start_as_it_is(text)
        return
    chosen = sample(split)
    targets = _fit_text(text, source.queries(split.texts).cpu())
    captions = [targets[torch.from_numpy(split.owners == place)] for place in chosen]
    ids = [split.video_ids[place] for place in chosen]
    rows = {n: _read(source, ids, n) for n in grid_sizes}
    clear = clearest(rows[min(grid_sizes)])
    attention = attend(clear, captions, directions)
    weight, bias = regress([Lesson(clear, attention, captions)], directions)
    views = [nn.functional.normalize(v.features @ weight + bias, dim=-1) for v in clear]
    groups = [tuple(grid_sizes)] if units.adapter.shared else [(n,) for n in grid_sizes]
    for group in groups:
        for kind in (SUPER_IMAGE, CELL):
            lessons = [
                Lesson(rows[n][kind], attention, captions, None if n == min(grid_sizes) else views)
                for n in group
            ]
            units.adapter.set(group[0], kind, *regress(lessons, directions))


def sample(split: Captioned) -> list[int]:
    """Positions of the videos that are fitted to: all, or as many as memory is bounded to."""
    count = len(split.video_ids)
    if count <= LARGEST_SAMPLE:
        return list(range(count))
    drawn = np.random.default_rng(0).choice(count, LARGEST_SAMPLE, replace=False)
    return sorted(drawn.tolist())


def start_as_it_is(text: TextAdapter) -> None:
    """What is learned of a caption is the caption."""
    if isinstance(text.project, nn.Linear):
        nn.init.eye_(text.project.weight)
        nn.init.zeros_(text.project.bias)


@torch.no_grad()
def fit_familiarity(text: TextAdapter, captions: Tensor, unseen: Tensor) -> None:
    """From what training captions [Q, D0] span, and how far `unseen` ones of the same kind,
    those of validation, lie outside of it."""
    familiarity = text.familiarity
    mean, directions, _ = principal(captions, familiarity.directions.shape[1])
    familiarity.mean.copy_(mean)
    familiarity.directions[:, : directions.shape[1]] = directions
    found = familiarity.ood_score(unseen).flatten()
    low, high = found.quantile(FAMILIAR_QUANTILE), found.max()
    familiarity.edges.copy_(torch.stack([low, torch.maximum(high, low + 1e-3)]))


def principal(rows: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """Mean [F], the first `count` principal directions [F, H] and their variances [H]."""
    mean = rows.mean(0)
    offsets = rows - mean
    variances, directions = torch.linalg.eigh(offsets.T @ offsets / len(rows))
    return mean, directions.flip(1)[:, :count], variances.flip(0)[:count]


def whiten(rows: Tensor, count: int) -> Whitening:
    """Equal variance along the first `count` principal directions of rows [T, F]."""
    mean, directions, variances = principal(rows, count)
    spread = variances.clamp(min=0) + SHRINKAGE * variances.mean()
    return Whitening(mean, directions / spread.sqrt().clamp(min=1e-6))


def ridge(inputs: Tensor, targets: Tensor) -> Tensor:
    """Weights [H, D1] from inputs [Q, H] to targets [Q, D1]; the penalty follows the inputs."""
    penalty = RIDGE * len(inputs) * inputs.square().mean()
    squares = inputs.T @ inputs + penalty * torch.eye(inputs.shape[1])
    weights: Tensor = torch.linalg.solve(squares, inputs.T @ targets)
    return weights


def clearest(rows: Mapping[Kind, Sequence[Rows]]) -> Sequence[Rows]:
    """The kind of unit that shows one frame: at N = 1 the picture, as the encoder is meant to
    see it; else the cell."""
    whole = all(len(video.features) == video.frames.shape[1] for video in rows[SUPER_IMAGE])
    return rows[SUPER_IMAGE if whole else CELL]


def attend(videos: Sequence[Rows], captions: Sequence[Tensor], directions: int) -> list[Tensor]:
    """Every caption's attention over the frames of its video, [captions, F] a video.

    videos: their frames, one a unit; captions: unit vectors [captions, D1] a video.
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
        found = [nn.functional.normalize(x @ weight, dim=-1) for x in inputs]
        attention = [
            (c @ u.T / TEMPERATURE).softmax(-1) for c, u in zip(captions, found, strict=True)
        ]
    return attention


@dataclass(frozen=True)
class Lesson:
    """What one kind of unit at one N is fitted to, by video.

    attention: of captions over frames [captions, F]; captions: unit vectors [captions, D1];
    views: unit vectors [F, D1] of the frames as they were learned where they are clearest.
    """

    videos: Sequence[Rows]
    attention: Sequence[Tensor]
    captions: Sequence[Tensor]
    views: Sequence[Tensor] | None = None

    def pairs(self, whitening: Whitening) -> tuple[Tensor, Tensor]:
        """Inputs [rows, H] and the unit vectors [rows, D1] that they should become."""
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
        # A unit counts less than a caption: there are many, and their frames were guessed.
        return (
            torch.cat([*moved, *(VIEW_WEIGHT * x for x in inputs)]),
            torch.cat([*self.captions, *(VIEW_WEIGHT * view for view in seen)]),
        )


def regress(lessons: Sequence[Lesson], directions: int) -> tuple[Tensor, Tensor]:
    """Weight [F', D1] and bias [D1] of one map for all lessons."""
    features = [video.features for lesson in lessons for video in lesson.videos]
    whitening = whiten(torch.cat(features), directions)
    pairs = [lesson.pairs(whitening) for lesson in lessons]
    inputs, targets = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    weight = whitening.matrix @ ridge(inputs, targets)
    return weight, -whitening.mean @ weight


def _moved(left: Tensor, right: Tensor) -> Tensor:
    """left [A, F] @ right.T [F, B], over the frames that both have: the last of a video's
    frames may be missing at one N."""
    count = min(left.shape[1], right.shape[1])
    return left[:, :count] @ right[:, :count].T


def _fit_text(text: TextAdapter, vectors: Tensor) -> Tensor:
    """Set the text adapter to whitened captions; unit vectors [Q, D1] of these captions."""
    if isinstance(text.project, nn.Linear):
        whitening = whiten(vectors, text.project.out_features)
        kept = whitening.matrix.shape[1]
        text.project.weight.zero_()[:kept] = whitening.matrix.T
        text.project.bias.zero_()[:kept] = -whitening.mean @ whitening.matrix
    return nn.functional.normalize(text.project(vectors), dim=-1)


def _read(source: Source, video_ids: Sequence[str], grid_size: int) -> dict[Kind, list[Rows]]:
    """The real units of every video, by kind."""
    found: dict[Kind, list[Rows]] = {SUPER_IMAGE: [], CELL: []}
    for video_id in video_ids:
        batch = source.videos([video_id], grid_size)
        features, cells = batch.features[0].cpu(), batch.mask[0].flatten(1).cpu()
        # Frame number of every cell; a padded one has none.
        numbers = torch.where(cells, cells.flatten().cumsum(0).view_as(cells) - 1, -1)
        inside = numbers[:, :, None] == torch.arange(int(cells.sum()))
        found[SUPER_IMAGE].append(Rows(features[:, 0], inside.any(1).float()))
        found[CELL].append(Rows(features[:, 1:][cells], inside[cells].float()))
    return found
