"""Pools: sparse frames as many as super images, and lengthening that only adds."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.training.conftest import RandomVideo
from training.parts import Part
from training.pools import join, lengthened, long_pools, mixed, natural, sparse, sparse_rows


@given(frames=st.integers(1, 500), grid_size=st.integers(1, 5))
def test_sparse_frames_are_as_many_as_super_images_one_in_each(frames: int, grid_size: int) -> None:
    rows, group = sparse_rows(frames, grid_size), grid_size**2
    assert len(rows) == -(-frames // group)
    assert (rows // group == np.arange(len(rows))).all()
    assert rows.max() < frames


def test_sparse_keeps_vectors_and_times_of_its_frames(random_video: RandomVideo) -> None:
    video = random_video(1, 10)
    ((_, kept),) = sparse({"a": video}, 2)
    assert np.array_equal(kept.vectors, video.vectors[[2, 6, 9]])
    assert kept.times[:, 0, 0].tolist() == [2.0, 6.0, 9.0]


def test_natural_is_the_videos_themselves(part: Part) -> None:
    assert dict(natural(part.videos)) == part.videos


def test_lengthening_keeps_the_video_and_adds_filler(part: Part) -> None:
    assert part.filler is not None
    known = {v.tobytes() for v in part.filler.vectors}
    for video_id, video in lengthened(part.videos, part.filler, 20, seed=1):
        own = part.videos[video_id].vectors
        assert len(video.vectors) == 20
        assert np.array_equal(video.vectors[: len(own)], own)
        added = Counter(v.tobytes() for v in video.vectors[len(own) :])
        assert set(added) <= known
        assert max(added.values()) == 1


def test_filler_repeats_only_after_all_of_it_is_used(part: Part, random_video: RandomVideo) -> None:
    few = random_video(5, 4)
    for video_id, video in lengthened(part.videos, few, 20, seed=1):
        added = video.vectors[len(part.videos[video_id].vectors) :]
        counts = Counter(v.tobytes() for v in added)
        assert max(counts.values()) - min(counts.values()) <= 1


def test_a_longer_video_is_left_alone(part: Part, random_video: RandomVideo) -> None:
    pool = dict(lengthened({"long": random_video(1, 30)}, random_video(2, 4), 20, seed=1))
    assert len(pool["long"].vectors) == 30


def test_a_videos_filler_does_not_depend_on_the_other_videos(part: Part) -> None:
    assert part.filler is not None
    all_of_them = dict(lengthened(part.videos, part.filler, 20, seed=1))
    alone = dict(lengthened({"v03": part.videos["v03"]}, part.filler, 20, seed=1))
    other_seed = dict(lengthened(part.videos, part.filler, 20, seed=2))
    assert np.array_equal(alone["v03"].vectors, all_of_them["v03"].vectors)
    assert not np.array_equal(other_seed["v03"].vectors, all_of_them["v03"].vectors)


def test_mixed_lengths_are_dealt_evenly(part: Part) -> None:
    assert part.filler is not None
    sizes = [len(v.vectors) for _, v in mixed(part.videos, part.filler, (20, 30), seed=1)]
    assert sum(size == 20 for size in sizes) == sum(size == 30 for size in sizes) == 4


def test_without_filler_there_is_nothing_long(part: Part) -> None:
    assert long_pools(part.videos, None, (20,), 1) == []
    names = [name for name, _ in long_pools(part.videos, part.filler, (20, 30), 1)]
    assert names == [20, 30, "mixed"]


def test_joined_videos_keep_their_order(random_video: RandomVideo) -> None:
    first, second = random_video(1, 2, grid_size=2), random_video(2, 3, grid_size=2)
    joined = join([first, second])
    assert np.array_equal(joined.vectors[2:], second.vectors)
    assert joined.mask.shape == (5, 4)
