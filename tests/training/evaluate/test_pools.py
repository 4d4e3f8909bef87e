"""Pools: lengthening only adds, evenly, and the same to every pool."""

import numpy as np
import pytest

from qasir.vectors import join
from tests.support.datasets import RandomVideo
from training.evaluate import scores
from training.evaluate.corpus import EvalSplit
from training.evaluate.scores import (
    Entry,
    Filler,
    lengthened,
    long_pools,
    mixed,
    natural,
    shuffle_into_blocks,
)


@pytest.fixture
def filler(part: EvalSplit, monkeypatch: pytest.MonkeyPatch) -> Filler:
    """Six blocks of three super images."""
    monkeypatch.setattr(scores, "BLOCK", 3)
    assert part.filler is not None
    return part.filler


def copies(entry: Entry) -> list[int]:
    return [] if entry.copies is None else entry.copies.tolist()


def test_natural_is_the_videos_themselves(part: EvalSplit) -> None:
    assert {e.video_id: e.video for e in natural(part.videos)} == part.videos
    assert all(e.copies is None for e in natural(part.videos))
    assert [e.super_images for e in natural(part.videos)] == [3] * 12


def test_lengthening_keeps_the_video_and_reaches_the_length(
    part: EvalSplit, filler: Filler
) -> None:
    for entry in lengthened(part.videos, filler, 14, seed=1):
        assert entry.video is part.videos[entry.video_id]
        # Eleven are missing, which takes four blocks of three.
        assert entry.super_images == 3 + 12
        assert sorted(copies(entry)) == [0, 0, 1, 1, 1, 1]


def test_blocks_repeat_only_after_all_are_used(part: EvalSplit, filler: Filler) -> None:
    for entry in lengthened(part.videos, filler, 50, seed=1):
        assert max(copies(entry)) - min(copies(entry)) <= 1
        assert sum(copies(entry)) == 16


def test_a_longer_video_is_left_alone(random_video: RandomVideo, filler: Filler) -> None:
    (entry,) = lengthened({"long": random_video(1, 120, 2)}, filler, 20, seed=1)
    assert (entry.copies, entry.super_images) == (None, 30)


def test_a_videos_filler_does_not_depend_on_the_other_videos(
    part: EvalSplit, filler: Filler
) -> None:
    all_of_them = {e.video_id: copies(e) for e in lengthened(part.videos, filler, 10, seed=1)}
    (alone,) = lengthened({"v03": part.videos["v03"]}, filler, 10, seed=1)
    (reseeded,) = lengthened({"v03": part.videos["v03"]}, filler, 10, seed=3)
    assert copies(alone) == all_of_them["v03"]
    assert copies(reseeded) != copies(alone)
    assert len({tuple(c) for c in all_of_them.values()}) > 6


def test_mixed_lengths_are_dealt_evenly(part: EvalSplit, filler: Filler) -> None:
    sizes = [entry.super_images for entry in mixed(part.videos, filler, (9, 15), seed=1)]
    assert sorted(sizes) == [3] * 4 + [9] * 4 + [15] * 4


def test_without_filler_there_is_nothing_long(part: EvalSplit) -> None:
    assert long_pools(part.videos, None, (20,), 1) == []
    names = [name for name, _ in long_pools(part.videos, part.filler, (20, 30), 1)]
    assert names == [20, 30, "mixed"]


def test_every_super_image_is_dealt_once(random_video: RandomVideo, filler: Filler) -> None:
    videos = [random_video(1, 12, 2), random_video(2, 9, 2), random_video(3, 8, 2)]
    dealt = shuffle_into_blocks(videos, seed=1)
    assert dealt is not None
    assert [len(block.mask) for block in dealt] == [3, 3, 2]
    given = sorted(row.tobytes() for block in dealt for row in block.embeddings)
    assert given == sorted(row.tobytes() for video in videos for row in video.embeddings)
    # Shuffled: a block is not simply a video.
    assert not any(np.array_equal(dealt[0].embeddings, video.embeddings) for video in videos)
    assert shuffle_into_blocks([], seed=1) is None


def test_joined_videos_keep_their_order(random_video: RandomVideo) -> None:
    first, second = random_video(1, 8, grid_size=2), random_video(2, 11, grid_size=2)
    joined = join([first, second])
    assert np.array_equal(joined.embeddings[2:], second.embeddings)
    assert joined.mask.sum() == 19
