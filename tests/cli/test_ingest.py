"""`qasir ingest`: what it sends, what it waits for, what it says of files that fail."""

import json
from pathlib import Path

import pytest

from qasir.cli import ingest
from qasir.errors import ModelUnavailable
from service.processes import free_ports
from tests.support.cli import run
from tests.support.scripted import JOB, VIDEO, ScriptedServer, events, problem

UPLOAD = {"video_id": "v1", "job_id": "j1", "state": "queued"}


def test_ingest_takes_a_folder_and_waits(server: ScriptedServer, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", ".hidden"):
        (tmp_path / name).write_bytes(b"video")
    server.on("POST /v1/videos", UPLOAD, status=202)
    running = {**JOB, "state": "running", "stage": "decode"}
    server.on("GET /v1/jobs/j1/events", events(running, JOB))
    server.on("GET /v1/videos/v1", {**VIDEO, "indexed_seconds": 8.0, "job": JOB})
    shown = run("ingest", str(tmp_path), "--url", server.url)
    assert shown.exit_code == 0, shown.output
    sent = [body for request, body in server.requests if request == "POST /v1/videos"]
    assert len(sent) == 2
    assert "a.mp4" in shown.output
    assert "ready" in shown.output


def test_ingest_says_what_failed_and_goes_on(server: ScriptedServer, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"video")
    refused = problem("upload_too_large", "5 bytes are too many")
    server.scripts["POST /v1/videos"] = [(413, refused), (202, UPLOAD)]
    error = {"code": "no_frames", "detail": "not one frame decodes", "retryable": False}
    server.on("GET /v1/jobs/j1/events", events({**JOB, "state": "failed", "error": error}))
    server.on("GET /v1/videos/v1", {**VIDEO, "indexed_seconds": 8.0, "job": JOB})
    shown = run("ingest", str(tmp_path / "a.mp4"), str(tmp_path / "b.mp4"), "--url", server.url)
    assert shown.exit_code == 1
    assert f"{tmp_path}/a.mp4: 5 bytes are too many" in shown.stderr
    assert f"{tmp_path}/b.mp4: not one frame decodes" in shown.stderr


def test_ingest_waits_for_a_place_in_a_full_queue(
    server: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest, "BUSY_SECONDS", 0.01)
    (tmp_path / "a.mp4").write_bytes(b"video")
    full = problem("overloaded", "1000 videos wait to be ingested")
    server.scripts["POST /v1/videos"] = [(429, full), (429, full), (202, UPLOAD)]
    server.on("GET /v1/jobs/j1/events", events(JOB))
    server.on("GET /v1/videos/v1", {**VIDEO, "indexed_seconds": 8.0, "job": JOB})
    shown = run("ingest", str(tmp_path), "--url", server.url)
    assert shown.exit_code == 0, shown.output
    sent = [body for request, body in server.requests if request == "POST /v1/videos"]
    assert len(sent) == 3
    assert all(b"video" in body for body in sent)


def test_ingest_without_a_service_says_so_once(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"video")
    (port,) = free_ports(1)
    failed = run("ingest", str(tmp_path), "--url", f"http://127.0.0.1:{port}")
    assert isinstance(failed.exception, ModelUnavailable)
    assert failed.stderr == "", "one message, for all files"


def test_ingest_goes_on_where_one_upload_breaks(server: ScriptedServer, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        (tmp_path / name).write_bytes(b"video")
    broken = problem("model_unavailable", "the connection broke")
    server.scripts["POST /v1/videos"] = [(503, broken), (202, UPLOAD)]
    server.on("GET /v1/videos", {"videos": [], "total_count": 0})
    server.on("GET /v1/jobs/j1/events", events(JOB))
    server.on("GET /v1/videos/v1", {**VIDEO, "indexed_seconds": 8.0, "job": JOB})
    shown = run("ingest", str(tmp_path), "--json", "--url", server.url)
    files = json.loads(shown.stdout)
    assert [(file["state"], file["error"]) for file in files] == [
        ("refused", "the connection broke"),
        ("ready", None),
    ]


def test_ingest_says_how_much_of_a_damaged_file_is_searched(
    server: ScriptedServer, tmp_path: Path
) -> None:
    (tmp_path / "cut.mp4").write_bytes(b"video")
    server.on("POST /v1/videos", UPLOAD, status=202)
    server.on("GET /v1/jobs/j1/events", events(JOB))
    server.on("GET /v1/videos/v1", {**VIDEO, "indexed_seconds": 0.2, "job": JOB})
    shown = run("ingest", str(tmp_path), "--json", "--url", server.url)
    assert shown.exit_code == 0, "what can be read is searchable"
    damage = "only 0:00.2 of 0:08.0 could be read and are searched"
    assert json.loads(shown.stdout)[0]["damage"] == damage
    assert f"{tmp_path}/cut.mp4: {damage}" in shown.stderr


def test_ingest_ignores_a_video_deleted_meanwhile(server: ScriptedServer, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"video")
    server.on("POST /v1/videos", UPLOAD, status=202)
    server.on("GET /v1/jobs/j1/events", events(JOB))
    server.on("GET /v1/videos/v1", problem("not_found", "no video 'v1'"), status=404)
    assert run("ingest", str(tmp_path), "--url", server.url).exit_code == 0
