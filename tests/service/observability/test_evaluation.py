"""Recall of the last evaluation: read as it is, absent without complaint."""

import json
from pathlib import Path

from service.observability.evaluation import EvaluatedRecall, read_recall
from service.settings import ROOT


def test_recalls_are_shares(tmp_path: Path) -> None:
    path = tmp_path / "metrics.json"
    path.write_text(json.dumps({"fine-tuned": {"2": {"r1": 25.0, "r10": 75.0, "sumr": 100.0}}}))
    assert list(read_recall(path)) == [
        EvaluatedRecall("fine-tuned", 2, 1, 0.25),
        EvaluatedRecall("fine-tuned", 2, 10, 0.75),
    ]


def test_what_is_no_evaluation_has_no_series(tmp_path: Path) -> None:
    assert list(read_recall(tmp_path / "absent.json")) == []
    for text in ("", "[]", '{"huge": {"2": {"r1": 1}}}', '{"fine-tuned": {"2": 3}}'):
        (tmp_path / "odd.json").write_text(text)
        assert list(read_recall(tmp_path / "odd.json")) == []


def test_the_committed_evaluation_has_recall_at_every_grid_size() -> None:
    found = list(read_recall(ROOT / "results" / "metrics.json"))
    assert {one.grid_size for one in found} >= {1, 2, 3, 4}
    assert {one.variant for one in found} >= {"zero-shot", "fine-tuned"}
    assert all(0 <= one.ratio <= 1 for one in found)
    best = max(found, key=lambda one: one.k)
    assert any(one.ratio < best.ratio for one in found if one.k == 1)
