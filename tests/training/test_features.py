"""Features as files: whole, equal, and refused where they do not fit together."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qasir.errors import CorruptArtifact
from tests.support.datasets import RandomFeatures
from training.features import read_features, take, write_features


def test_what_is_written_is_read(random_features: RandomFeatures, tmp_path: Path) -> None:
    video = random_features(1, 10, 2)
    write_features(video, tmp_path / "a.npz")
    found = read_features(tmp_path / "a.npz")
    assert found.spec == video.spec
    assert np.array_equal(found.features, video.features)
    assert np.array_equal(found.mask, video.mask)
    assert np.array_equal(found.times, video.times)
    assert found.features.dtype == np.float16


def test_parts_that_do_not_belong_together_are_refused(random_features: RandomFeatures) -> None:
    video = random_features(1, 10, 2)
    for change in (
        {"features": video.features[:, :4]},
        {"features": video.features[:2]},
        {"mask": video.mask[:, :3]},
        {"times": video.times[:1]},
    ):
        with pytest.raises(CorruptArtifact, match=r"do not belong together at N = 2"):
            replace(video, **change)


def test_a_file_cut_short_names_the_next_step(
    random_features: RandomFeatures, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    write_features(random_features(1, 10), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptArtifact, match=r"a\.npz .*dvc repro encode"):
        read_features(path)
    with pytest.raises(CorruptArtifact, match=r"missing\.npz"):
        read_features(tmp_path / "missing.npz")


def test_some_super_images_keep_their_times(random_features: RandomFeatures) -> None:
    video = random_features(1, 10)
    kept = take(video, np.array([2, 6, 9]))
    assert np.array_equal(kept.features, video.features[[2, 6, 9]])
    assert kept.times[:, 0, 0].tolist() == [2.0, 6.0, 9.0]
    assert len(kept) == 3
