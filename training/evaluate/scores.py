"""Scores all queries and videos for many settings at once, in both branches.

The index answers one query and holds every embedding once. An evaluation runs hundreds of queries
under dozens of settings over pools that repeat the same filler thousands of times. An attended
sum can be cut anywhere, so every block of filler is summed once for all videos that it lengthens.
Tests compare the scores with `qasir.scoring` and with the index.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from qasir.config import IndexUnit
from qasir.manifest import ScoreFusion
from qasir.scoring import EPSILON, Pooling, blend
from qasir.types import Float32
from qasir.vectors import VideoVectors
from training.evaluate.pools import Entry, Filler, Pool

Unit = Literal["super-image", "cell", "both"]
UNITS: tuple[Unit, ...] = get_args(Unit)
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

# Bounds memory: sums over all blocks of filler [B, Q, D] and over videos [V, Q, D].
QUERY_BATCH = 128
VIDEO_BATCH = 64
# exp(-50) of the strongest weight changes no float32 sum. Smaller weights become subnormal
# numbers, which make a matrix product thirty times slower.
NEGLIGIBLE = np.float32(-50.0)


@dataclass(frozen=True)
class Setting:
    """One way to score: the units, their pooling, and a model's temperatures and weight."""

    unit: Unit
    pooling: Pooling
    branches: ScoreFusion

    @property
    def branch_settings(self) -> tuple["BranchSetting", ...]:
        """Returns the branches to score: one, or super images and then cells."""
        units: tuple[IndexUnit, ...] = (
            ("super-image", "cell") if self.unit == "both" else (self.unit,)
        )
        return tuple(BranchSetting(u, self.pooling, self._tau(u)) for u in units)

    def _tau(self, unit: IndexUnit) -> float:
        # Only attention has a temperature; equal values let other poolings share one table.
        return self.branches.tau(unit) if self.pooling == "attention" else 1.0


@dataclass(frozen=True)
class BranchSetting:
    """One branch, one pooling, one temperature."""

    unit: IndexUnit
    pooling: Pooling
    tau: float

    def weights(self, similarities: Float32, peak: Float32) -> Float32:
        """Returns the weight of each unit, relative to 1 for similarity `peak`; any shape."""
        if self.pooling == "mean":
            return np.ones_like(similarities)
        if self.pooling == "max":
            return np.asarray(similarities == peak, np.float32)
        below = np.maximum((similarities - peak) / np.float32(self.tau), NEGLIGIBLE)
        return np.asarray(np.exp(below), np.float32)


@dataclass(frozen=True)
class Attended:
    """The attended sum over a stretch of units, not yet divided by the weights.

    peak: float32 [..., Q], the largest similarity; total: float32 [..., Q, D], the sum of units
    weighted relative to it.
    """

    peak: Float32
    total: Float32


def score_pool(queries: Float32, pool: Pool, settings: Sequence[Setting]) -> list[Float32]:
    """Returns scores [Q, V] of unit queries [Q, D] per setting, V in the order of the pool."""
    branches = dict.fromkeys(branch for setting in settings for branch in setting.branch_settings)
    tables: dict[BranchSetting, Float32] = {}
    for unit in dict.fromkeys(branch.unit for branch in branches):
        same_unit = [branch for branch in branches if branch.unit == unit]
        tables |= zip(same_unit, score_branch(queries, pool, same_unit), strict=True)
    return [_blended(setting, [tables[b] for b in setting.branch_settings]) for setting in settings]


def score_branch(queries: Float32, pool: Pool, settings: Sequence[BranchSetting]) -> list[Float32]:
    """Returns scores [Q, V] of settings that all have the same unit."""
    result = np.empty((len(settings), len(queries), len(pool)), np.float32)
    filler = next((entry.extra.filler for entry in pool if entry.extra), Filler(()))
    for begin in range(0, len(queries), QUERY_BATCH):
        batch = queries[begin : begin + QUERY_BATCH]
        blocks = attend_all(batch, filler.blocks, settings)
        for first in range(0, len(pool), VIDEO_BATCH):
            entries = pool[first : first + VIDEO_BATCH]
            own = attend_all(batch, [entry.video for entry in entries], settings)
            copies = np.stack([_copies(entry, filler) for entry in entries])
            place = np.s_[begin : begin + len(batch), first : first + len(entries)]
            for row, setting in enumerate(settings):
                totals = _add(setting, own[row], blocks[row], copies)
                result[(row, *place)] = _cosines(batch, totals)
    return list(result)


def attend_all(
    queries: Float32, videos: Sequence[VideoVectors], settings: Sequence[BranchSetting]
) -> list[Attended]:
    """Attends from queries [Q, D] over each video: peaks [V, Q], totals [V, Q, D] per setting."""
    count, dim = queries.shape
    result = [
        Attended(
            np.empty((len(videos), count), np.float32),
            np.empty((len(videos), count, dim), np.float32),
        )
        for _ in settings
    ]
    for place, video in enumerate(videos):
        units = video.rows(settings[0].unit).astype(np.float32)
        similarities = queries @ units.T
        peak = similarities.max(axis=1)
        for attended, setting in zip(result, settings, strict=True):
            attended.peak[place] = peak
            attended.total[place] = setting.weights(similarities, peak[:, None]) @ units
    return result


def _copies(entry: Entry, filler: Filler) -> Float32:
    """Returns how often a video holds each block, float32 [B]."""
    none = np.zeros(len(filler.blocks), np.float32)
    return none if entry.extra is None else entry.extra.copies.astype(np.float32)


def _add(setting: BranchSetting, own: Attended, blocks: Attended, copies: Float32) -> Float32:
    """Adds to the totals [V, Q, D] of videos the filler that lengthens them, copies [V, B]."""
    if not copies.any():
        return own.total
    held = np.where(copies[:, :, None] > 0, blocks.peak, -np.inf)  # [V, B, Q]
    peak = np.maximum(own.peak, held.max(axis=1))
    shares = copies[:, :, None] * setting.weights(held, peak[:, None])
    added = shares.transpose(2, 0, 1) @ blocks.total.transpose(1, 0, 2)  # [Q, V, D]
    kept = own.total * setting.weights(own.peak, peak)[:, :, None]
    return np.asarray(kept + added.transpose(1, 0, 2), np.float32)


def _cosines(queries: Float32, totals: Float32) -> Float32:
    """Returns cos(q, v(q)) [Q, V] of totals [V, Q, D]; the weights' sum cancels out."""
    dots = np.einsum("vqd,qd->qv", totals, queries)
    norms = np.sqrt(np.einsum("vqd,vqd->qv", totals, totals))
    return np.asarray(dots / np.maximum(norms, EPSILON), np.float32)


def _blended(setting: Setting, tables: Sequence[Float32]) -> Float32:
    return tables[0] if len(tables) == 1 else blend(tables[0], tables[1], setting.branches)
