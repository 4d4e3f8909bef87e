"""`qasir videos` and `qasir jobs`; times and lengths as people read them."""

import json

import pytest

from qasir.cli.library import length_of
from qasir.cli.terminal import clock
from qasir.contract.videos import Video
from tests.support.cli import run
from tests.support.scripted import JOB, VIDEO, ScriptedServer


def test_a_video_that_failed_has_no_length(server: ScriptedServer) -> None:
    failed = {**VIDEO, "state": "failed", "duration": 0.0, "width": 0}
    server.on("GET /v1/videos", {"videos": [failed], "total_count": 1})
    assert "0:00.0" not in run("videos", "list", "--url", server.url).output


def test_videos_list_show_and_delete(server: ScriptedServer) -> None:
    server.on("GET /v1/videos", {"videos": [VIDEO], "total_count": 7, "next_page_token": "t2"})
    error = {"code": "no_frames", "detail": "not one frame decodes", "retryable": False}
    server.on("GET /v1/videos/v1", {**VIDEO, "job": {**JOB, "state": "failed", "error": error}})
    server.on("DELETE /v1/videos/v1", "", status=204)
    listed = run("videos", "list", "--url", server.url).output
    assert "0:08.0" in listed
    assert "64x48" in listed
    assert "1 of 7 videos" in listed
    assert "the next page: --page-token t2" in listed
    run("videos", "list", "--limit", "1", "--page-token", "t2", "--url", server.url)
    assert server.requests[-1][0] == "GET /v1/videos?limit=1&page_token=t2"
    as_json = run("videos", "list", "--json", "--url", server.url).stdout
    (video,) = json.loads(as_json)["videos"]
    assert (video["id"], video["created_at"]) == ("v1", "2026-01-02T03:04:05Z")
    shown = json.loads(run("videos", "show", "v1", "--url", server.url).stdout)
    assert (shown["codec"], shown["job"]["error"]["detail"]) == ("h264", "not one frame decodes")
    assert run("videos", "delete", "v1", "--url", server.url).output == "deleted v1\n"


def test_jobs_are_shown_in_a_table(server: ScriptedServer) -> None:
    running = {**JOB, "state": "running", "stage": "encode", "progress": 0.42, "eta_seconds": 7.0}
    server.on("GET /v1/jobs", {"jobs": [running]})
    shown = run("jobs", "list", "--url", server.url).output
    (row,) = [line for line in shown.splitlines() if "j1" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["j1", "v1", "running, encode", "42%", "7 s", ""]
    error = {"code": "no_frames", "detail": "not one frame [of 9] decodes", "retryable": False}
    server.on("GET /v1/jobs", {"jobs": [{**JOB, "error": error}]})
    listed = run("jobs", "list", "--url", server.url).output
    assert "no_frames" in listed
    assert "not one frame" not in listed, "a list has a line for each"
    server.on("GET /v1/jobs/j1", {**JOB, "state": "failed", "error": error})
    one = run("jobs", "show", "j1", "--url", server.url).output
    assert one.splitlines()[-1] == "not one frame [of 9] decodes"
    server.on("POST /v1/jobs/j1/cancel", {**JOB, "state": "cancelled"})
    assert "cancelled" in run("jobs", "cancel", "j1", "--url", server.url).output


def test_an_empty_library_says_what_to_do(server: ScriptedServer) -> None:
    server.on("GET /v1/videos", {"videos": [], "total_count": 0})
    server.on("GET /v1/jobs", {"jobs": []})
    assert "qasir ingest PATH" in run("videos", "list", "--url", server.url).output
    assert run("jobs", "list", "--url", server.url).output == "no job yet\n"


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0, "0:00.0"), (59.96, "1:00.0"), (3599.99, "1:00:00.0")]
)
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_a_damaged_video_shows_how_much_of_it_is_searched() -> None:
    whole = Video.model_validate({**VIDEO, "duration": 60.0, "indexed_seconds": 59.5})
    assert length_of(whole) == "1:00.0"
    damaged = whole.model_copy(update={"indexed_seconds": 9.0})
    assert length_of(damaged) == "1:00.0 (0:09.0 readable)"
    queued = whole.model_copy(update={"indexed_seconds": 0.0, "state": "queued"})
    assert length_of(queued) == "1:00.0"
    failed = whole.model_copy(update={"duration": 0.0, "state": "failed"})
    assert length_of(failed) == ""
