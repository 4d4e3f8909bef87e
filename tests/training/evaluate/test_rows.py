"""Rows as files: flat, rounded, and equal bytes for equal values."""

import csv
import json
from pathlib import Path

import numpy as np

from training.evaluate.corpus import EvalSplit
from training.evaluate.measures import UNANSWERED, Interval, Measures
from training.evaluate.rows import GroupRow, LengthRow, plain, read_rows, write_json, write_ranks

MEASURES = Measures(60, 3, 100 / 3, 50.0, 100.0, None, 550 / 3)


def test_measures_and_intervals_are_flattened_into_their_row(tmp_path: Path) -> None:
    rows = [
        LengthRow("zero-shot", 2, "both", "attention", "mixed", 9.0, MEASURES),
        GroupRow("fine-tuned", 3, "kind v", MEASURES, Interval(550 / 3, 100.0, 200.0)),
    ]
    write_json(rows, tmp_path / "rows.json")
    first, second = json.loads((tmp_path / "rows.json").read_text())
    assert (first["length"], first["unit"]) == ("mixed", "both")
    assert (first["r1"], first["r100"], first["sumr"]) == (33.3333, None, 183.333)
    assert (second["grid_size"], second["group"], second["videos"]) == (3, "kind v", 60)
    ends = [second[name] for name in ("objective", "objective_low", "objective_high")]
    assert ends == [183.333, 100.0, 200.0]


def test_rows_are_read_back_as_they_were_rounded(tmp_path: Path) -> None:
    rows = [GroupRow("fine-tuned", 3, "kind v", MEASURES, Interval(550 / 3, 100.0, 200.0))]
    write_json(rows, tmp_path / "rows.json")
    assert plain(read_rows(tmp_path / "rows.json", GroupRow)) == plain(rows)
    assert read_rows(tmp_path / "missing.json", GroupRow) == []


def test_small_numbers_keep_their_digits(tmp_path: Path) -> None:
    write_json({2: {"worst": 1.23456789e-7}}, tmp_path / "a.json")
    assert json.loads((tmp_path / "a.json").read_text()) == {"2": {"worst": 1.23457e-7}}


def test_ranks_stand_beside_their_query(part: EvalSplit, tmp_path: Path) -> None:
    ranks = np.arange(1, 13)
    unanswered = np.where(ranks == 2, UNANSWERED, ranks)
    path = tmp_path / "ranks" / "1.csv"
    write_ranks(part.queries, {"served": ranks, "sparse-mean": unanswered}, path)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert rows[0] == {"query_id": "v00#enc#0", "served": "1", "sparse-mean": "1"}
    assert rows[1]["sparse-mean"] == ""
    assert len(rows) == 12
