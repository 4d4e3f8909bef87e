"""TVR: types kept as kinds, and evaluation only where the train file is absent."""

import json
from collections import Counter
from pathlib import Path

import pytest

from qasir.errors import InvalidAnnotations
from training.data.benchmarks import read_tvr as read

ROW = {"vid_name": "a_clip", "duration": 60.0, "ts": [1, 2.5], "desc": "She waits. ", "type": "vt"}


def write(path: Path, *rows: object) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def test_the_real_file_has_the_published_counts(annotations_folder: Path) -> None:
    annotations = read(annotations_folder / "tvr")
    assert annotations.train is None
    assert (len(annotations.test.videos), len(annotations.test.queries)) == (2_179, 10_895)
    kinds = Counter(query.kind for query in annotations.test.queries)
    assert kinds == {"v": 8_097, "vt": 1_834, "t": 964}
    assert annotations.repairs["test"]["spaces trimmed"] == 1_555


def test_a_train_file_is_used_where_it_is(tmp_path: Path) -> None:
    write(tmp_path / "tvr_val_release.jsonl", ROW)
    assert read(tmp_path).train is None
    write(tmp_path / "tvr_train_release.jsonl", ROW, {**ROW, "type": "t"})
    train = read(tmp_path).train
    assert train is not None
    assert [(q.text, q.kind) for q in train.queries] == [("She waits.", "vt"), ("She waits.", "t")]


@pytest.mark.parametrize(
    "row",
    [{}, [], {**ROW, "type": "x"}, {**ROW, "ts": [1]}, {**ROW, "ts": 1}, {**ROW, "duration": None}],
)
def test_another_shape_names_the_line(tmp_path: Path, row: object) -> None:
    write(tmp_path / "tvr_val_release.jsonl", ROW, row)
    with pytest.raises(InvalidAnnotations, match=r"tvr_val_release\.jsonl, line 2: .*; expected"):
        read(tmp_path)
