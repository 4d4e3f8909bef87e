"""`qasir search`: what it asks for, and how it shows what was found."""

import json
from pathlib import Path

import pytest

from qasir.cli.terminal import clock
from qasir.errors import InvalidInput
from tests.support.cli import run
from tests.support.scripted import RESULTS, ScriptedServer


def test_search_prints_a_table(server: ScriptedServer) -> None:
    server.on("POST /v1/search", RESULTS)
    shown = run("search", "a dog", "--top", "3", "--url", server.url)
    assert shown.exit_code == 0
    (row,) = [line for line in shown.output.splitlines() if "dog.mp4" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["1", "0.310", "v1", "0:01.0 to 0:02.5", "dog.mp4"]
    assert "searched 1 video, 0:08.0 in all, in 4 ms" in shown.output
    assert json.loads(server.requests[0][1])["top_k"] == 3


def test_search_of_an_empty_library_says_how_to_fill_it(server: ScriptedServer) -> None:
    nothing = {**RESULTS, "results": [], "searched": {"video_count": 0, "seconds": 0.0}}
    server.on("POST /v1/search", nothing)
    shown = run("search", "a dog", "--url", server.url)
    assert shown.exit_code == 0
    assert "qasir ingest" in shown.output


def test_a_filter_that_lets_nothing_through_is_not_an_empty_library(server: ScriptedServer) -> None:
    nothing = {**RESULTS, "results": [], "searched": {"video_count": 0, "seconds": 0.0}}
    server.on("POST /v1/search", nothing)
    shown = run(
        "search", "a dog", "--filter", '{"title": {"contains": "cat"}}', "--url", server.url
    )
    assert "no searchable video passes the filter" in shown.output
    assert "ingest" not in shown.output


def test_a_page_after_the_last_says_so(server: ScriptedServer) -> None:
    server.on("POST /v1/search", {**RESULTS, "results": []})
    shown = run("search", "a dog", "--offset", "20", "--url", server.url).output
    assert shown.splitlines()[0] == "no more results after the first 20"


def test_a_provisional_answer_says_so(server: ScriptedServer) -> None:
    reranker = {"fingerprint": "ab", "grid_size": 1, "scored_count": 7, "candidate_count": 20}
    provisional = {"mode": "hybrid", "provisional": True, "reranker": reranker}
    server.on("POST /v1/search", {**RESULTS, **provisional})
    shown = run("search", "a dog", "--mode", "hybrid", "--url", server.url)
    assert "the reranker scored 7 of 20 of its candidates in time" in shown.output


def test_search_as_json_is_json_alone(server: ScriptedServer) -> None:
    server.on("POST /v1/search", RESULTS)
    shown = run("search", "a dog", "--json", "--url", server.url)
    assert json.loads(shown.stdout)["results"][0]["video"]["id"] == "v1"


def test_search_passes_its_options_on(server: ScriptedServer, tmp_path: Path) -> None:
    server.on("POST /v1/search", RESULTS)
    (tmp_path / "dog.jpg").write_bytes(b"picture")
    options = ["--mode", "hybrid", "--model", "lite@2", "--grid-size", "3", "--context", "2"]
    options += ["--group-by", "moment", "--image", str(tmp_path / "dog.jpg")]
    more = ["--filter", '{"title": {"contains": "dog"}}']
    assert run("search", *options, *more, "--url", server.url).exit_code == 0
    assert json.loads(server.requests[0][1]) == {
        "top_k": 10,
        "mode": "hybrid",
        "model": "lite@2",
        "grid_size": 3,
        "group_by": "moment",
        "filter": {"title": {"contains": "dog"}},
        "example": {"image": "cGljdHVyZQ=="},
        "context_seconds": 2.0,
    }
    refused = run("search", "a dog", "--filter", "[1]", "--url", server.url)
    assert isinstance(refused.exception, InvalidInput)


def test_a_search_like_a_segment(server: ScriptedServer) -> None:
    """Times are accepted as results print them."""
    server.on("POST /v1/search", RESULTS)
    for start, end in [("8", "9.6"), (clock(8), clock(9.6)), (clock(59.5), clock(3725.2))]:
        assert run("search", "--like", f"v1@{start}-{end}", "--url", server.url).exit_code == 0
    assert [json.loads(body)["example"] for _, body in server.requests] == [
        {"video_id": "v1", "start": 8.0, "end": 9.6},
        {"video_id": "v1", "start": 8.0, "end": 9.6},
        {"video_id": "v1", "start": 59.5, "end": 3725.2},
    ]


@pytest.mark.parametrize("like", ["v1", "v1@8", "v1@8-", "v1@a-b", "@8-9", "v1@-1-9", "v1@8,5-9"])
def test_the_error_names_what_is_not_a_segment(like: str) -> None:
    failed = run("search", "--like", like)
    assert isinstance(failed.exception, InvalidInput)
    assert str(failed.exception).startswith(f"--like is '{like}', not a segment of a video; write")


def test_a_search_has_one_example() -> None:
    failed = run("search", "a dog", "--image", "dog.jpg", "--like", "v1@8-9")
    assert isinstance(failed.exception, InvalidInput)
    assert str(failed.exception).startswith("--image and --like: ")
