"""Scores all queries and videos of a pool for many settings at once, in both branches.

A pool holds unchanged videos, lengthened ones, or mixed lengths: real libraries hold long videos
and short moments, and length lowers recall. A video is lengthened by super images of unrelated
(train) videos, which were encoded in the context of their own video.

The index answers one query and holds every embedding once. An evaluation runs hundreds of queries
under dozens of settings over pools that repeat the same filler thousands of times. An attended
sum can be cut anywhere, so every block of filler is summed once for all videos that it lengthens.
Tests compare the scores with `qasir.scoring` and with the index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args
from zlib import crc32

import numpy as np

from qasir.config import IndexUnit
from qasir.manifest import ScoreFusion
from qasir.scoring import EPSILON, Pooling, blend
from qasir.types import Float32, Int64
from qasir.vectors import VideoVectors, join, take

Unit = Literal["super-image", "cell", "both"]
UNITS: tuple[Unit, ...] = get_args(Unit)
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)

# Super images per block of filler; a block is scored once for all videos.
BLOCK = 25
# Bounds memory: sums over all blocks of filler [B, Q, D] and over videos [V, Q, D].
QUERY_BATCH = 128
VIDEO_BATCH = 64
# exp(-50) of the strongest weight changes no float32 sum. Smaller weights become subnormal
# numbers, which make a matrix product thirty times slower.
NEGLIGIBLE = np.float32(-50.0)

Videos: TypeAlias = Mapping[str, VideoVectors]
# Super images of unrelated videos, shuffled into blocks.
Filler: TypeAlias = Sequence[VideoVectors]


@dataclass(frozen=True)
class Entry:
    """One video of a pool; block b of `filler` is appended `copies[b]` times."""

    video_id: str
    video: VideoVectors
    filler: Filler = ()
    copies: Int64 | None = None

    @property
    def super_images(self) -> int:
        """Returns S, appended super images included."""
        if self.copies is None:
            return len(self.video.mask)
        sizes = [len(block.mask) for block in self.filler]
        return len(self.video.mask) + int(self.copies @ np.array(sizes))


Pool: TypeAlias = Sequence[Entry]


def natural(videos: Videos) -> Pool:
    """Returns the unchanged videos."""
    return [Entry(video_id, video) for video_id, video in videos.items()]


def lengthened(videos: Videos, filler: Filler, length: int, seed: int) -> Pool:
    """Lengthens every video to at least `length` super images with blocks of `filler`.

    No block repeats within a video before all are used; a longer video stays unchanged.
    """
    return [_lengthen(video_id, video, filler, length, seed) for video_id, video in videos.items()]


def mixed(videos: Videos, filler: Filler, lengths: Sequence[int], seed: int) -> Pool:
    """Splits the videos evenly into unchanged ones and ones of every length."""
    order = sorted(videos, key=lambda video_id: crc32(f"{seed} {video_id}".encode()))
    choices = (0, *lengths)
    chosen = {video_id: choices[i % len(choices)] for i, video_id in enumerate(order)}
    return [
        _lengthen(video_id, video, filler, chosen[video_id], seed)
        for video_id, video in videos.items()
    ]


def long_pools(
    videos: Videos, filler: Filler | None, lengths: Sequence[int], seed: int
) -> list[tuple[int | str, Pool]]:
    """Returns a named pool for every length and one of mixed lengths; none without filler."""
    if filler is None or not lengths:
        return []
    pools: list[tuple[int | str, Pool]] = [
        (length, lengthened(videos, filler, length, seed)) for length in lengths
    ]
    return [*pools, ("mixed", mixed(videos, filler, lengths, seed))]


def shuffle_into_blocks(videos: Sequence[VideoVectors], seed: int) -> Filler | None:
    """Shuffles the super images of videos of one spec into blocks; None without videos."""
    if not videos:
        return None
    joined = join(videos)
    order = np.random.default_rng(seed).permutation(len(joined.mask))
    starts = range(0, len(order), BLOCK)
    return [take(joined, np.sort(order[i : i + BLOCK])) for i in starts]


def _lengthen(video_id: str, video: VideoVectors, filler: Filler, length: int, seed: int) -> Entry:
    missing = length - len(video.mask)
    if missing <= 0:
        return Entry(video_id, video)
    random = np.random.default_rng([seed, length, crc32(video_id.encode())])
    size = len(filler)
    whole, rest = divmod(-(-missing // BLOCK), size)
    copies = np.full(size, whole, np.int64)
    copies[random.permutation(size)[:rest]] += 1
    return Entry(video_id, video, filler, copies)


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
        # Only attention has a temperature; equal values let other poolings share one table.
        taus = [self.branches.tau(u) if self.pooling == "attention" else 1.0 for u in units]
        return tuple(
            BranchSetting(u, self.pooling, tau) for u, tau in zip(units, taus, strict=True)
        )


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
    scores = []
    for setting in settings:
        first, *others = (tables[branch] for branch in setting.branch_settings)
        scores.append(blend(first, others[0], setting.branches) if others else first)
    return scores


def score_branch(queries: Float32, pool: Pool, settings: Sequence[BranchSetting]) -> list[Float32]:
    """Returns scores [Q, V] of settings that all have the same unit."""
    result = np.empty((len(settings), len(queries), len(pool)), np.float32)
    filler = next((entry.filler for entry in pool if entry.filler), ())
    for begin in range(0, len(queries), QUERY_BATCH):
        batch = queries[begin : begin + QUERY_BATCH]
        blocks = attend_all(batch, filler, settings)
        for first in range(0, len(pool), VIDEO_BATCH):
            entries = pool[first : first + VIDEO_BATCH]
            own = attend_all(batch, [entry.video for entry in entries], settings)
            none = np.zeros(len(filler), np.int64)
            held = [none if entry.copies is None else entry.copies for entry in entries]
            copies = np.stack(held).astype(np.float32)  # [V, B]
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
