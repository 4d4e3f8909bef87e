"""The demo's own parts; the whole of it is `make demo ONCE=1`."""

import json
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from qasir.client.results import MomentHit, Result, Searched, SearchResults, VideoRef
from qasir.errors import NotFound
from service.stack.demo import Caption, read_captions, table


def result(rank: int, title: str) -> Result:
    moment = MomentHit(61.0, 65.0, 0.3, 15, None, "/v1/videos/v/thumbnail?t=63")
    return Result(rank, 0.31, 1.2, VideoRef(f"v{rank}", title, 90.0), [moment])


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
    found = SearchResults([result(1, "a"), result(2, "b")], Searched(2, 180.0), "g", {})
    console = Console(width=100, record=True, file=StringIO())
    console.print(table(Caption("a red ball", "b"), found))
    lines = console.export_text().splitlines()
    marked = [line for line in lines if "written for" in line]
    assert len(marked) == 1
    assert "│ 2" in marked[0]
    assert "1:01.0 to 1:05.0" in marked[0]
