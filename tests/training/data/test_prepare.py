"""The stage: validation split off train by video, and what it says when it cannot run."""

from pathlib import Path

import pytest

from qasir.config import DemoParams, PrepareParams
from qasir.errors import InvalidConfig
from training.data.dataset import Query, Subset, Video, read_split
from training.data.prepare import prepare, split_off

VIDEOS = tuple(Video(f"v{i}", 9.0) for i in range(20))
QUERIES = tuple(Query(f"v{i % 20}#enc#{i // 20}", f"v{i % 20}", "a", 0, 1, 9) for i in range(60))
TRAIN = Subset(VIDEOS, QUERIES)


def params(demo: DemoParams, dataset: str, annotations: Path | None) -> PrepareParams:
    return PrepareParams.model_validate(
        {
            "dataset": dataset,
            "annotations": annotations,
            "videos": None,
            "validation_share": 0.5,
            "seed": 1,
            "demo": demo,
        }
    )


def test_a_video_and_its_queries_go_to_one_side() -> None:
    train, val = split_off(TRAIN, 0.2, seed=1)
    assert (len(train.videos), len(val.videos)) == (16, 4)
    assert set(train.videos) | set(val.videos) == set(VIDEOS)
    for part in (train, val):
        assert {q.video_id for q in part.queries} == {v.video_id for v in part.videos}
    assert len(train.queries) + len(val.queries) == len(QUERIES)


def test_the_split_follows_the_seed_and_not_the_file_order() -> None:
    assert split_off(TRAIN, 0.2, seed=1) == split_off(TRAIN, 0.2, seed=1)
    assert split_off(TRAIN, 0.2, seed=1) != split_off(TRAIN, 0.2, seed=2)
    backwards = Subset(VIDEOS[::-1], QUERIES)
    assert set(split_off(backwards, 0.2, seed=1)[1].videos) == set(
        split_off(TRAIN, 0.2, 1)[1].videos
    )


@pytest.mark.parametrize("share", [0.001, 0.999])
def test_neither_side_is_empty(share: float) -> None:
    train, val = split_off(TRAIN, share, seed=1)
    assert min(len(train.videos), len(val.videos)) == 1


def test_a_benchmark_becomes_a_dataset(demo: DemoParams, tmp_path: Path) -> None:
    source, dataset = tmp_path / "annotations", tmp_path / "dataset"
    source.mkdir()
    lines = [f"V{i} 0.0 4.0##person {i} sits." for i in range(6)]
    (source / "charades_sta_train.txt").write_text("\n".join(lines[:4]))
    (source / "charades_sta_test.txt").write_text("\n".join(lines[4:]))
    durations = ", ".join(f'"V{i}": {{"duration": 9.0}}' for i in range(6))
    (source / "charades_durations.json").write_text(f"{{{durations}}}")
    prepare(params(demo, "charades", source), dataset)
    sizes = [len(read_split(dataset, split).videos) for split in ("train", "val", "test")]
    assert sizes == [2, 2, 2]


def test_a_benchmark_without_a_folder_names_the_parameter(demo: DemoParams, tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"prepare\.annotations is null"):
        prepare(params(demo, "tvr", None), tmp_path)
