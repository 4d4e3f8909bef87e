"""What the queries search: the videos as they are, lengthened, or of mixed lengths.

Real libraries hold long videos and short moments, and length hurts: a pool of lengthened
videos repeats the test with every video padded by super images of unrelated (train) videos.
The units that are appended were made in the context of their own video: a temporal encoder
never saw them beside the video that they lengthen.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias
from zlib import crc32

import numpy as np

from qasir.types import Int64
from qasir.vectors import VideoVectors

Videos: TypeAlias = Mapping[str, VideoVectors]


# Filler is dealt in blocks of so many super images, which are scored once for all videos.
BLOCK = 25


@dataclass(frozen=True)
class Filler:
    """Super images of unrelated videos, shuffled into blocks."""

    blocks: tuple[VideoVectors, ...]


@dataclass(frozen=True)
class Extra:
    """What lengthens a video: every block of `filler` as often as `copies` [B] says."""

    filler: Filler
    copies: Int64


@dataclass(frozen=True)
class Entry:
    """One video of a pool, with what lengthens it."""

    video_id: str
    video: VideoVectors
    extra: Extra | None = None

    @property
    def super_images(self) -> int:
        """S, the appended ones included."""
        if self.extra is None:
            return len(self.video.mask)
        sizes = [len(block.mask) for block in self.extra.filler.blocks]
        return len(self.video.mask) + int(self.extra.copies @ np.array(sizes))


Pool: TypeAlias = Sequence[Entry]


def natural(videos: Videos) -> Pool:
    """The videos as they are."""
    return [Entry(video_id, video) for video_id, video in videos.items()]


def lengthened(videos: Videos, filler: Filler, length: int, seed: int) -> Pool:
    """Every video brought to at least `length` super images by blocks of `filler`.

    No block repeats within a video before all are used; a longer video stays as it is.
    """
    return [_lengthen(video_id, video, filler, length, seed) for video_id, video in videos.items()]


def mixed(videos: Videos, filler: Filler, lengths: Sequence[int], seed: int) -> Pool:
    """A third each (or what the number of lengths gives) as it is and of every length."""
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
    """A pool for every length and one of mixed lengths, with their names.

    None at all where there is nothing to lengthen with.
    """
    if filler is None or not lengths:
        return []
    pools: list[tuple[int | str, Pool]] = [
        (length, lengthened(videos, filler, length, seed)) for length in lengths
    ]
    return [*pools, ("mixed", mixed(videos, filler, lengths, seed))]


def deal(videos: Sequence[VideoVectors], seed: int) -> Filler | None:
    """Shuffle the super images of videos of one spec into blocks; None where there are none."""
    if not videos:
        return None
    joined = join(videos)
    order = np.random.default_rng(seed).permutation(len(joined.mask))
    starts = range(0, len(order), BLOCK)
    return Filler(tuple(_rows(joined, np.sort(order[i : i + BLOCK])) for i in starts))


def join(videos: Sequence[VideoVectors]) -> VideoVectors:
    """All super images of several videos of one spec, one after the other."""
    return VideoVectors(
        videos[0].spec,
        np.concatenate([video.embeddings for video in videos]),
        np.concatenate([video.mask for video in videos]),
        np.concatenate([video.times for video in videos]),
    )


def _rows(video: VideoVectors, rows: Int64) -> VideoVectors:
    return replace(
        video, embeddings=video.embeddings[rows], mask=video.mask[rows], times=video.times[rows]
    )


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
