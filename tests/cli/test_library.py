"""`qasir videos` and `qasir jobs`."""

import json

from tests.support.answers import JOB, VIDEO, Answers
from tests.support.cli import run


def test_a_video_that_failed_has_no_length(answers: Answers) -> None:
    failed = {**VIDEO, "state": "failed", "duration": 0.0, "width": 0}
    answers.to("GET /v1/videos", {"videos": [failed], "offset": 0, "limit": 50, "total": 1})
    assert "0:00.0" not in run("videos", "list", "--url", answers.url).output


def test_videos_list_show_and_delete(answers: Answers) -> None:
    answers.to("GET /v1/videos", {"videos": [VIDEO], "offset": 0, "limit": 50, "total": 7})
    error = {"code": "no_frames", "detail": "not one frame decodes", "retryable": False}
    answers.to("GET /v1/videos/v1", {**VIDEO, "job": {**JOB, "state": "failed", "error": error}})
    answers.to("DELETE /v1/videos/v1", "", status=204)
    listed = run("videos", "list", "--url", answers.url).output
    assert "0:08.0" in listed
    assert "64x48" in listed
    assert "1 of 7 videos" in listed
    as_json = run("videos", "list", "--json", "--url", answers.url).stdout
    (video,) = json.loads(as_json)["videos"]
    assert (video["id"], video["created"]) == ("v1", "2026-01-02T03:04:05+00:00")
    shown = json.loads(run("videos", "show", "v1", "--url", answers.url).stdout)
    assert (shown["codec"], shown["job"]["error"]["detail"]) == ("h264", "not one frame decodes")
    assert run("videos", "delete", "v1", "--url", answers.url).output == "deleted v1\n"


def test_jobs_are_shown_in_a_table(answers: Answers) -> None:
    running = {**JOB, "state": "running", "stage": "encode", "progress": 0.42, "eta_seconds": 7.0}
    answers.to("GET /v1/jobs", {"jobs": [running], "offset": 0, "limit": 50})
    shown = run("jobs", "list", "--url", answers.url).output
    (row,) = [line for line in shown.splitlines() if "j1" in line]
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == ["j1", "v1", "running, encode", "42%", "7 s", ""]
    error = {"code": "no_frames", "detail": "not one frame [of 9] decodes", "retryable": False}
    answers.to("GET /v1/jobs", {"jobs": [{**JOB, "error": error}], "offset": 0, "limit": 50})
    listed = run("jobs", "list", "--url", answers.url).output
    assert "no_frames" in listed
    assert "not one frame" not in listed, "a list has a line for each"
    answers.to("GET /v1/jobs/j1", {**JOB, "state": "failed", "error": error})
    one = run("jobs", "show", "j1", "--url", answers.url).output
    assert one.splitlines()[-1] == "not one frame [of 9] decodes"
    answers.to("POST /v1/jobs/j1/cancel", {**JOB, "state": "cancelled"})
    assert "cancelled" in run("jobs", "cancel", "j1", "--url", answers.url).output


def test_an_empty_library_says_what_to_do(answers: Answers) -> None:
    answers.to("GET /v1/videos", {"videos": [], "offset": 0, "limit": 50, "total": 0})
    answers.to("GET /v1/jobs", {"jobs": [], "offset": 0, "limit": 50})
    assert "qasir ingest PATH" in run("videos", "list", "--url", answers.url).output
    assert run("jobs", "list", "--url", answers.url).output == "no job yet\n"
