"""Builds the pools that queries search: unchanged videos, lengthened ones, or mixed lengths.

Real libraries hold long videos and short moments, and length lowers recall. A lengthened pool
repeats the test with every video padded by super images of unrelated (train) videos. These were
encoded in the context of their own video, not of the video that they lengthen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias
from zlib import crc32

import numpy as np

from qasir.types import Int64
from qasir.vectors import VideoVectors, join, take

Videos: TypeAlias = Mapping[str, VideoVectors]


# Super images per block of filler; a block is scored once for all videos.
BLOCK = 25


@dataclass(frozen=True)
class Filler:
    """Super images of unrelated videos, shuffled into blocks."""

    blocks: tuple[VideoVectors, ...]


@dataclass(frozen=True)
class Extra:
    """Filler that lengthens a video: block b of `filler` is appended `copies[b]` times."""

    filler: Filler
    copies: Int64


@dataclass(frozen=True)
class Entry:
    """One video of a pool, with the filler that lengthens it."""

    video_id: str
    video: VideoVectors
    extra: Extra | None = None

    @property
    def super_images(self) -> int:
        """Returns S, appended super images included."""
        if self.extra is None:
            return len(self.video.mask)
        sizes = [len(block.mask) for block in self.extra.filler.blocks]
        return len(self.video.mask) + int(self.extra.copies @ np.array(sizes))


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
    return Filler(tuple(take(joined, np.sort(order[i : i + BLOCK])) for i in starts))


def _lengthen(video_id: str, video: VideoVectors, filler: Filler, length: int, seed: int) -> Entry:
    missing = length - len(video.mask)
    if missing <= 0:
        return Entry(video_id, video)
    random = np.random.default_rng([seed, length, crc32(video_id.encode())])
    size = len(filler.blocks)
    whole, rest = divmod(-(-missing // BLOCK), size)
    copies = np.full(size, whole, np.int64)
    copies[random.permutation(size)[:rest]] += 1
    return Entry(video_id, video, Extra(filler, copies))
