"""Feature sets: what is read of a folder, bounded filler, sparse frames."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qasir.errors import InvalidInput
from qasir.vectors import write_vectors
from tests.support.datasets import RandomFeatures
from training.data.dataset import EMPTY, Query, Split, Subset, Video
from training.evaluate import corpus
from training.evaluate.corpus import read_feature_set, sparse, sparse_rows

SUBSETS: dict[Split, Subset] = {
    "train": Subset(tuple(Video(f"t{i}", 9.0) for i in range(5)), ()),
    "val": EMPTY,
    "test": Subset(
        (Video("a", 9.0), Video("lost", 9.0)), (Query("a#enc#0", "a", "a dog", 0.0, 1.0, 9.0),)
    ),
}


@pytest.fixture
def folder(tmp_path: Path, random_features: RandomFeatures) -> Path:
    """Every video of SUBSETS but one, nine frames each."""
    for seed, name in enumerate(["t0", "t1", "t2", "t3", "t4", "a"]):
        write_vectors(random_features(seed, 9), tmp_path / f"{name}.npz")
    return tmp_path


def test_a_video_without_features_is_left_out(folder: Path) -> None:
    found = read_feature_set(folder, 1, SUBSETS)
    assert list(found.splits["test"]) == ["a"]
    assert list(found.splits["train"]) == ["t0", "t1", "t2", "t3", "t4"]
    assert found.splits["val"] == {}
    assert len(found.splits["test"]["a"].mask) == 9


def test_filler_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "FILLER_SUPER_IMAGES", 20)
    assert list(read_feature_set(folder, 1, SUBSETS).splits["train"]) == ["t0", "t1", "t2"]


def test_a_split_without_one_video_names_the_next_step(folder: Path) -> None:
    (folder / "a.npz").unlink()
    with pytest.raises(InvalidInput, match=r"none of 2 test videos .*dvc repro encode"):
        read_feature_set(folder, 1, SUBSETS)


@given(frames=st.integers(1, 500), grid_size=st.integers(1, 5))
def test_sparse_frames_are_as_many_as_super_images_one_in_each(frames: int, grid_size: int) -> None:
    rows, group = sparse_rows(frames, grid_size), grid_size**2
    assert len(rows) == -(-frames // group)
    assert (rows // group == np.arange(len(rows))).all()
    assert rows.max() < frames


def test_sparse_keeps_features_and_times_of_its_frames(folder: Path) -> None:
    whole = read_feature_set(folder, 1, SUBSETS)
    few = sparse(whole, 2)
    video, kept = whole.splits["test"]["a"], few.splits["test"]["a"]
    assert np.array_equal(kept.embeddings, video.embeddings[[2, 6, 8]])
    assert kept.times[:, 0, 0].tolist() == [2.0, 6.0, 8.0]
    assert len(kept.mask) == 3
