"""What the queries search: the videos as they are, lengthened, of mixed lengths, or sparse.

Real libraries hold long videos and short moments, and length hurts: a pool of lengthened
videos repeats the test with every video padded by super images of unrelated (train) videos.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias
from zlib import crc32

import numpy as np

from qasir.types import Int64
from qasir.vectors import VideoVectors

# Made as they are read: a thousand super images for each video of a benchmark never
# have to be in memory at once.
Pool: TypeAlias = Iterator[tuple[str, VideoVectors]]
Videos: TypeAlias = Mapping[str, VideoVectors]


def natural(videos: Videos) -> Pool:
    """The videos as they are."""
    yield from videos.items()


def lengthened(videos: Videos, filler: VideoVectors, length: int, seed: int) -> Pool:
    """Every video brought to `length` super images by super images of `filler`.

    No filler repeats within a video before all of it is used; a longer video stays as it is.
    """
    for video_id, video in videos.items():
        yield video_id, _lengthen(video_id, video, filler, length, seed)


def mixed(videos: Videos, filler: VideoVectors, lengths: Sequence[int], seed: int) -> Pool:
    """A third each (or what the number of lengths gives) as it is and of every length."""
    order = sorted(videos, key=lambda video_id: crc32(f"{seed} {video_id}".encode()))
    choices = (0, *lengths)
    chosen = {video_id: choices[i % len(choices)] for i, video_id in enumerate(order)}
    for video_id, video in videos.items():
        yield video_id, _lengthen(video_id, video, filler, chosen[video_id], seed)


def long_pools(
    videos: Videos, filler: VideoVectors | None, lengths: Sequence[int], seed: int
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


def sparse(frames: Videos, grid_size: int) -> Pool:
    """Single frames as few as super images of N x N would be: the middle of every N^2 frames.

    `frames` are vectors at N = 1; S = F frames leave ceil(F / N^2).
    """
    for video_id, video in frames.items():
        yield video_id, _rows(video, sparse_rows(len(video.vectors), grid_size))


def sparse_rows(frames: int, grid_size: int) -> Int64:
    """Positions of the kept frames.

    >>> sparse_rows(10, 2).tolist()
    [2, 6, 9]
    """
    group = grid_size**2
    return np.minimum(np.arange(0, frames, group) + group // 2, frames - 1)


def join(videos: Sequence[VideoVectors]) -> VideoVectors:
    """All super images of several videos of one passport, one after the other."""
    return VideoVectors(
        videos[0].passport,
        np.concatenate([video.vectors for video in videos]),
        np.concatenate([video.mask for video in videos]),
        np.concatenate([video.times for video in videos]),
    )


def _lengthen(
    video_id: str, video: VideoVectors, filler: VideoVectors, length: int, seed: int
) -> VideoVectors:
    missing = length - len(video.vectors)
    if missing <= 0:
        return video
    random = np.random.default_rng([seed, length, crc32(video_id.encode())])
    size = len(filler.vectors)
    rounds = [random.permutation(size) for _ in range(-(-missing // size))]
    return join([video, _rows(filler, np.concatenate(rounds)[:missing])])


def _rows(video: VideoVectors, rows: Int64) -> VideoVectors:
    return replace(
        video, vectors=video.vectors[rows], mask=video.mask[rows], times=video.times[rows]
    )
