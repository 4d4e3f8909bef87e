"""The cache: resumable, never of two models, and equal for equal inputs."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec
from qasir.vectors import VideoVectors, write_vectors
from tests.support.datasets import RandomFeatures
from training.features.cache import (
    EDGE_BYTES,
    FeatureCache,
    read_cache,
    read_features,
    source_digest,
)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"the bytes of a video")
    return path


@pytest.fixture
def video(random_features: RandomFeatures) -> VideoVectors:
    return random_features(1, 4)


def other(spec: EmbeddingSpec) -> EmbeddingSpec:
    return spec.model_copy(update={"resolution": 96})


def open_cache(tmp_path: Path, video: VideoVectors) -> FeatureCache:
    return FeatureCache(tmp_path / "features", video.spec)


def test_what_is_added_is_held_by_the_next_run(
    tmp_path: Path, source: Path, video: VideoVectors
) -> None:
    cache = open_cache(tmp_path, video)
    assert not cache.holds("a", source)
    cache.add("a", source, video)
    again = open_cache(tmp_path, video)
    assert again.holds("a", source)
    assert np.array_equal(
        dict(read_cache(again.folder, ["a", "b"]))["a"].embeddings, video.embeddings
    )


def test_another_passport_empties_the_cache(
    tmp_path: Path, source: Path, video: VideoVectors
) -> None:
    open_cache(tmp_path, video).add("a", source, video)
    cache = FeatureCache(tmp_path / "features", other(video.spec))
    assert not cache.holds("a", source)
    assert list(read_cache(cache.folder, ["a"])) == []


def test_a_replaced_video_is_encoded_again(
    tmp_path: Path, source: Path, video: VideoVectors
) -> None:
    open_cache(tmp_path, video).add("a", source, video)
    source.write_bytes(b"the bytes of another")
    assert not open_cache(tmp_path, video).holds("a", source)


def test_a_lost_feature_file_is_encoded_again(
    tmp_path: Path, source: Path, video: VideoVectors
) -> None:
    cache = open_cache(tmp_path, video)
    cache.add("a", source, video)
    cache.path("a").unlink()
    assert not open_cache(tmp_path, video).holds("a", source)


def test_a_journal_cut_short_loses_its_last_line_only(
    tmp_path: Path, source: Path, video: VideoVectors
) -> None:
    cache = open_cache(tmp_path, video)
    cache.add("a", source, video)
    cache.add("b", source, replace(video))
    journal = cache.folder / "encoded.jsonl"
    journal.write_bytes(journal.read_bytes()[:-9])
    again = open_cache(tmp_path, video)
    assert again.holds("a", source)
    assert not again.holds("b", source)
    again.add("b", source, video)
    assert open_cache(tmp_path, video).holds("b", source)


def test_the_order_of_work_leaves_no_trace(
    tmp_path: Path, source: Path, video: VideoVectors
) -> None:
    folders = []
    for name, order in (("x", "abc"), ("y", "cab")):
        cache = FeatureCache(tmp_path / name, video.spec)
        for video_id in order:
            cache.add(video_id, source, video)
        cache.finish({"a", "b"})
        folders.append({p.name: p.read_bytes() for p in cache.folder.iterdir()})
    assert folders[0] == folders[1]
    assert sorted(folders[0]) == ["a.npz", "b.npz", "encoded.jsonl", "spec.json"]


def test_a_digest_sees_both_ends_and_the_size(tmp_path: Path) -> None:
    middle = bytes(3 * EDGE_BYTES)
    contents = [b"a" + middle, b"b" + middle, b"a" + middle + b"0", middle + b"a"]
    digests = set()
    for content in contents:
        (tmp_path / "video").write_bytes(content)
        digests.add(source_digest(tmp_path / "video"))
    assert len(digests) == len(contents)


def test_what_is_written_is_read(random_features: RandomFeatures, tmp_path: Path) -> None:
    video = random_features(1, 10, 2)
    write_vectors(video, tmp_path / "a.npz")
    found = read_features(tmp_path / "a.npz")
    assert found.spec == video.spec
    assert np.array_equal(found.embeddings, video.embeddings)
    assert np.array_equal(found.mask, video.mask)
    assert np.array_equal(found.times, video.times)
    assert found.embeddings.dtype == np.float16


def test_parts_that_do_not_belong_together_are_refused(random_features: RandomFeatures) -> None:
    video = random_features(1, 10, 2)
    for change in (
        {"embeddings": video.embeddings[:, :4]},
        {"embeddings": video.embeddings[:2]},
        {"mask": video.mask[:, :3]},
        {"times": video.times[:1]},
    ):
        with pytest.raises(CorruptArtifact, match=r"do not fit together at N = 2"):
            replace(video, **change)


def test_a_file_cut_short_names_the_next_step(
    random_features: RandomFeatures, tmp_path: Path
) -> None:
    path = tmp_path / "a.npz"
    write_vectors(random_features(1, 10), path)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(CorruptArtifact, match=r"a\.npz .*dvc repro encode"):
        read_features(path)
    with pytest.raises(CorruptArtifact, match=r"missing\.npz"):
        read_features(tmp_path / "missing.npz")
