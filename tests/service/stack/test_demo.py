"""The demo's own parts; the whole of it is `make demo ONCE=1`."""

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from qasir.contract.search import SearchResponse
from qasir.errors import NotFound
from service.stack.demo import Caption, read_captions, results_table
from tests.support.scripted import MOMENT, RESULTS


def result(rank: int, title: str) -> dict[str, Any]:
    moment = {**MOMENT, "start": 61.0, "end": 65.0}
    video = {"id": f"v{rank}", "title": title, "duration": 90.0}
    return {"rank": rank, "score": 0.31, "score_z": 1.2, "video": video, "moments": [moment]}


def test_captions_are_spread_over_the_file(tmp_path: Path) -> None:
    path = tmp_path / "queries.jsonl"
    rows = [{"text": f"text {i}", "video_id": f"test-{i // 8}"} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = read_captions(path, 3)
    assert [caption.text for caption in found] == ["text 0", "text 20", "text 40"]
    assert [caption.video for caption in found] == ["test-0", "test-2", "test-5"]


def test_no_corpus_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="make repro"):
        read_captions(tmp_path / "queries.jsonl", 3)


def test_the_table_marks_the_right_video() -> None:
    results = [result(1, "a"), result(2, "b")]
    answer = SearchResponse.model_validate({**RESULTS, "results": results})
    console = Console(width=100, record=True, file=StringIO())
    console.print(results_table(Caption("a red ball", "b"), answer))
    lines = console.export_text().splitlines()
    marked = [line for line in lines if "written for" in line]
    assert len(marked) == 1
    assert "│ 2" in marked[0]
    assert "1:01.0 to 1:05.0" in marked[0]
