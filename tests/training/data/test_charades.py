"""Charades-STA: spans clipped to durations of their own file, repeats kept."""

import json
from pathlib import Path

import pytest

from qasir.errors import InvalidAnnotations
from training.data.benchmarks import read_charades as read


def write(folder: Path, line: str, durations: object = None) -> Path:
    (folder / "charades_sta_train.txt").write_text("AAAAA 0.0 4.0##person sits.\n" + line + "\n")
    (folder / "charades_sta_test.txt").write_text("BBBBB 1.0 9.0##person runs.\n")
    known = {"AAAAA": {"duration": 8.0}, "BBBBB": {"duration": 8.0}}
    text = json.dumps(known if durations is None else durations)
    (folder / "charades_durations.json").write_text(text)
    return folder


def test_the_real_files_have_the_published_counts(annotations_folder: Path) -> None:
    annotations = read(annotations_folder / "charades")
    assert annotations.train is not None
    assert (len(annotations.train.videos), len(annotations.train.queries)) == (5_338, 12_408)
    assert (len(annotations.test.videos), len(annotations.test.queries)) == (1_334, 3_720)
    assert annotations.repairs["train"]["span clipped to the duration"] == 1_802
    assert annotations.repairs["test"]["span clipped to the duration"] == 562
    assert all(q.end <= q.duration for q in annotations.test.queries)


def test_repeated_sentences_cap_r_at_1(annotations_folder: Path) -> None:
    """A ranking sees the text alone, so of equal sentences about n videos it answers one."""
    queries = read(annotations_folder / "charades").test.queries
    cap = 100 * len({q.text for q in queries}) / len(queries)
    assert cap == pytest.approx(76.8, abs=0.1)


def test_a_span_past_the_end_is_clipped(tmp_path: Path) -> None:
    query = read(write(tmp_path, "AAAAA 1 2##a")).test.queries[0]
    assert (query.text, query.start, query.end, query.moment_ratio) == ("person runs.", 1, 8, 0.875)


@pytest.mark.parametrize(
    "line", ["AAAAA 0.0 4.0 person", "AAAAA 0.0##x", "AAAAA a b##x", "ZZZZZ 0 1##x"]
)
def test_another_shape_names_the_line(tmp_path: Path, line: str) -> None:
    with pytest.raises(InvalidAnnotations, match=r"charades_sta_train\.txt, line 2: .*; expected"):
        read(write(tmp_path, line))


def test_durations_of_another_shape_are_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidAnnotations, match=r"charades_durations\.json: .*; expected"):
        read(write(tmp_path, "AAAAA 1 2##a", durations={"AAAAA": 8.0}))
