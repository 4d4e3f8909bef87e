"""ActivityNet Captions: the real files' counts, and files of another shape."""

import json
from pathlib import Path

import pytest

from qasir.errors import InvalidAnnotations
from training.data.benchmarks import read_activitynet as read

VIDEO = {"duration": 9.0, "timestamps": [[0, 3], [5, 4]], "sentences": ["One.", " Two."]}


def write(folder: Path, train: object) -> Path:
    (folder / "train.json").write_text(json.dumps(train))
    (folder / "val_1.json").write_text(json.dumps({"v_b": VIDEO}))
    return folder


def test_the_real_files_have_the_published_counts(annotations_folder: Path) -> None:
    annotations = read(annotations_folder / "activitynet")
    assert annotations.train is not None
    assert (len(annotations.train.videos), len(annotations.train.queries)) == (10_009, 37_421)
    assert (len(annotations.test.videos), len(annotations.test.queries)) == (4_917, 17_505)
    train = annotations.repairs["train"]
    # Four train spans have end <= start: two are empty, two reversed.
    assert train["reversed span turned round"] == train["empty span, moment unknown"] == 2
    assert train["spaces trimmed"] > 25_000
    assert all(q.text == q.text.strip() for q in annotations.test.queries)
    assert all(0 <= q.start < q.end <= q.duration for q in annotations.test.queries)


def test_a_small_file_is_read(tmp_path: Path) -> None:
    annotations = read(write(tmp_path, {"v_a": VIDEO}))
    assert [q.query_id for q in annotations.test.queries] == ["v_b#enc#0", "v_b#enc#1"]
    assert [(q.text, q.start, q.end) for q in annotations.test.queries] == [
        ("One.", 0, 3),
        ("Two.", 4, 5),
    ]


@pytest.mark.parametrize(
    "train",
    [
        [],
        {"v_a": []},
        {"v_a": {"duration": 9.0}},
        {"v_a": {**VIDEO, "sentences": ["one too few"]}},
        {"v_a": {**VIDEO, "timestamps": [[0, 3], [1]]}},
        {"v_a": {**VIDEO, "duration": "long"}},
    ],
)
def test_another_shape_names_the_file(tmp_path: Path, train: object) -> None:
    with pytest.raises(InvalidAnnotations, match=r"train\.json: .*; expected"):
        read(write(tmp_path, train))
