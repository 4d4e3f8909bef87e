"""Which captions belong to which videos, what a batch holds, and the order of batches."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qasir.errors import NotFound
from tests.support.planted import FEATURES, Bridge, World, planted
from training.data.dataset import Query, Subset, Video
from training.train.batches import CachedFeatureProvider, captioned, draw_epoch


def query(video_id: str, number: int) -> Query:
    return Query(f"{video_id}#enc#{number}", video_id, f"{video_id} {number}", 0.0, 1.0, 9.0)


def test_videos_without_features_or_captions_are_left_out() -> None:
    videos = tuple(Video(name, 9.0) for name in ("a", "b", "c", "d"))
    queries = (query("c", 0), query("a", 0), query("b", 0), query("c", 1))
    split = captioned(Subset(videos, queries), available=("a", "c", "d"))
    assert split.video_ids == ("c", "a")
    assert split.texts == ("c 0", "a 0", "c 1")
    assert split.owners.tolist() == [0, 1, 0]


def test_captions_of_some_videos() -> None:
    split = planted(train=4, val=2).train
    texts, owners = split.of((2, 0))
    assert texts == split.texts[:4] + split.texts[8:12]
    assert owners.tolist() == [1] * 4 + [0] * 4


def test_a_batch_is_padded_by_super_images_without_a_real_cell() -> None:
    world = World.make(0)
    videos = {"long": world.video([1, 2, 3], 2), "short": world.video([4], 2)}
    source = CachedFeatureProvider({2: videos}, {}, Bridge())
    batch = source.videos(["short", "long"], 2)
    assert batch.features.shape == (2, 3, 5, FEATURES)
    assert batch.features.dtype == torch.float32
    assert batch.mask.shape == (2, 3, 2, 2)
    assert batch.mask.flatten(1).sum(1).tolist() == [3, 9]
    assert not batch.mask[0, 1:].any()
    expected = torch.from_numpy(videos["long"].embeddings.astype(np.float32))
    assert torch.equal(batch.features[1], expected)
    assert batch.zero_shot is not None
    assert torch.allclose(batch.zero_shot[1], Bridge()(expected), atol=1e-3)


def test_query_vectors_in_the_order_asked_for() -> None:
    vectors = {"a": np.ones(3, np.float32), "b": np.zeros(3, np.float32)}
    found = CachedFeatureProvider({}, vectors, Bridge()).queries(("b", "a"))
    assert found.tolist() == [[0, 0, 0], [1, 1, 1]]


@pytest.mark.parametrize(("video_id", "grid_size"), [("train-0", 3), ("nobody", 1)])
def test_missing_features_say_how_to_make_them(video_id: str, grid_size: int) -> None:
    with pytest.raises(NotFound, match=rf"'{video_id}'.* {grid_size};.*dvc repro encode"):
        planted(train=2, val=2).provider.videos([video_id], grid_size)


@given(
    videos=st.integers(2, 40),
    size=st.integers(2, 12),
    grid_sizes=st.sets(st.integers(1, 4), min_size=1),
    epoch=st.integers(0, 3),
)
def test_every_video_once_at_every_grid_size(
    videos: int, size: int, grid_sizes: set[int], epoch: int
) -> None:
    draws = draw_epoch(videos, tuple(grid_sizes), size, 7, epoch)
    for grid_size in grid_sizes:
        seen = [v for draw in draws if draw.grid_size == grid_size for v in draw.videos]
        assert sorted(seen) == list(range(videos))
    assert {draw.grid_size for draw in draws} == grid_sizes
    assert max(len(draw.videos) for draw in draws) <= size
    assert draws == draw_epoch(videos, tuple(grid_sizes), size, 7, epoch)


def test_no_batch_is_without_negatives() -> None:
    assert min(len(draw.videos) for draw in draw_epoch(9, (1,), 8, 0, 0)) >= 2


def test_epochs_and_seeds_differ() -> None:
    orders = [draw_epoch(20, (1, 2), 5, seed, epoch) for seed, epoch in ((1, 1), (1, 2), (2, 1))]
    assert orders[0] != orders[1]
    assert orders[0] != orders[2]
