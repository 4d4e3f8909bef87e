"""Real worker, real service of two processes, real Triton: from an upload to an answer."""

import concurrent.futures
import os
import signal
import subprocess
from pathlib import Path

import cv2
import httpx
import numpy as np
import pytest

from service.catalogue.catalogue import Catalogue
from tests.support.service import MAX_UPLOAD_BYTES, RunningService, write_sound
from tests.support.triton import RunningTriton
from tests.support.videos import PaintedVideo, painted_number, write_painted
from tests.support.waiting import wait_for


def test_upload_becomes_searchable(running_service: RunningService) -> None:
    path = running_service.new_video(seconds=9)
    answer = running_service.upload(path, title="Nine seconds", metadata='{"camera": 3}')
    assert answer.status_code == 202
    job = running_service.finished(answer.json()["job_id"])
    assert (job["state"], job["progress"], job["error"]) == ("ready", 1.0, None)
    video_id = answer.json()["video_id"]
    video = running_service.http.get(f"/v1/videos/{video_id}").json()
    assert (video["title"], video["metadata"]) == ("Nine seconds", {"camera": 3})
    assert (video["state"], video["duration"], video["codec"]) == ("ready", 9.0, "h264")
    assert video["job"]["id"] == job["id"]
    (hit,) = [r for r in running_service.search()["results"] if r["video"]["id"] == video_id]
    assert hit["video"] == {"id": video_id, "title": "Nine seconds", "duration": 9.0}
    moment = hit["moments"][0]
    assert 0 <= moment["start"] < moment["end"] <= 9.0
    thumbnail = running_service.http.get(moment["thumbnail_url"])
    assert thumbnail.headers["content-type"] == "image/jpeg"


def test_commits_and_deletes_count_in_every_process(running_service: RunningService) -> None:
    """Each connection may land on the other process; none may answer from the past."""
    video_id = running_service.ingested()

    def found(_: int) -> bool:
        url = running_service.http.base_url
        request = {"query": "a cat", "top_k": 100}
        with httpx.Client(base_url=url, timeout=30) as http:
            results = http.post("/v1/search", json=request).json()["results"]
        return video_id in {result["video"]["id"] for result in results}

    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        assert all(threads.map(found, range(16)))
        assert running_service.http.delete(f"/v1/videos/{video_id}").status_code == 204
        assert not any(threads.map(found, range(16)))


def test_delete_leaves_no_file(running_service: RunningService) -> None:
    video_id = running_service.ingested()
    folders = running_service.settings.folders
    assert (folders.media / video_id).is_dir()
    running_service.http.delete(f"/v1/videos/{video_id}")
    assert not (folders.media / video_id).exists()
    assert not (folders.vectors / video_id).exists()
    for path in ("", "/media", "/thumbnail", "/super-images/0"):
        assert running_service.http.get(f"/v1/videos/{video_id}{path}").status_code == 404
    assert running_service.http.delete(f"/v1/videos/{video_id}").json()["code"] == "not_found"


def test_deleted_video_may_come_back(running_service: RunningService) -> None:
    path = running_service.new_video()
    first = running_service.upload(path).json()
    running_service.finished(first["job_id"])
    running_service.http.delete(f"/v1/videos/{first['video_id']}")
    again = running_service.upload(path)
    assert (again.status_code, again.json()["video_id"]) == (202, first["video_id"])
    running_service.finished(again.json()["job_id"])
    assert first["video_id"] in running_service.found()


def test_same_bytes_twice_are_one_video(running_service: RunningService, tmp_path: Path) -> None:
    path = running_service.new_video()
    first = running_service.upload(path)
    copy = tmp_path / "another name.mp4"
    copy.write_bytes(path.read_bytes())
    second = running_service.upload(copy)
    assert (first.status_code, second.status_code) == (202, 200)
    assert first.json()["video_id"] == second.json()["video_id"]
    assert first.json()["job_id"] == second.json()["job_id"]
    title = running_service.http.get(f"/v1/videos/{first.json()['video_id']}").json()["title"]
    assert title == path.stem
    running_service.finished(first.json()["job_id"])


def test_pictures_show_the_right_frame(running_service: RunningService) -> None:
    numbers = [9, 8, 7, 6, 5, 4, 3, 2, 1]
    path = running_service.folder / "countdown.mp4"
    write_painted(path, 9, fps=1, size=(320, 240), numbers=numbers)
    accepted = running_service.upload(path).json()
    running_service.finished(accepted["job_id"])
    base = f"/v1/videos/{accepted['video_id']}"

    def shown(url: str) -> int:
        answer = running_service.http.get(base + url)
        picture = cv2.imdecode(np.frombuffer(answer.content, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        return painted_number(np.asarray(picture, np.uint8))

    assert [shown(f"/thumbnail?t={t}") for t in (0, 4.2, 8.9, 500)] == [9, 5, 1, 1]
    previews = [running_service.http.get(f"{base}/super-images/{n}") for n in range(4)]
    assert [sheet.status_code for sheet in previews] == [200, 200, 200, 404]
    assert "has 3 at grid size 2" in previews[3].json()["detail"]
    other = running_service.http.get(f"{base}/super-images/0?grid_size=3").json()
    assert (other["code"], other["status"]) == ("not_found", 404)


def test_media_comes_back_whole_and_in_ranges(running_service: RunningService) -> None:
    path = running_service.new_video()
    accepted = running_service.upload(path).json()
    running_service.finished(accepted["job_id"])
    url = f"/v1/videos/{accepted['video_id']}/media"
    whole = running_service.http.get(url)
    assert (whole.content, whole.headers["content-type"]) == (path.read_bytes(), "video/mp4")
    part = running_service.http.get(url, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, path.read_bytes()[10:20])
    assert running_service.http.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416


def bad_file(kind: str, folder: Path, painted_video: PaintedVideo) -> Path:
    path = folder / "bad.mp4"
    if kind == "unsupported_media":
        path.write_text("words that no other test uploads")
    elif kind == "no_video_stream":
        write_sound(path)
    elif kind == "no_frames":
        # A whole container whose pictures are noise.
        write_painted(path, 4)
        content = bytearray(path.read_bytes())
        begin = content.index(b"mdat") + 4
        end = content.index(b"moov") - 4
        content[begin:end] = bytes(end - begin)
        path.write_bytes(content)
    elif kind == "video_too_long":
        write_painted(path, 2000, fps=1)
    else:
        write_painted(path, 2, size=(64, 48))
        path.write_bytes(path.read_bytes()[:600])
    return path


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("unsupported_media", "unsupported_media"),
        ("no_video_stream", "no_video_stream"),
        ("no_frames", "no_frames"),
        ("video_too_long", "video_too_long"),
        ("truncated", "unsupported_media"),
    ],
)
def test_bad_files_fail_with_their_code_and_the_worker_lives_on(
    running_service: RunningService,
    painted_video: PaintedVideo,
    tmp_path: Path,
    kind: str,
    code: str,
) -> None:
    accepted = running_service.upload(bad_file(kind, tmp_path, painted_video))
    assert accepted.status_code == 202
    job = running_service.finished(accepted.json()["job_id"])
    assert (job["state"], job["error"]["code"]) == ("failed", code)
    assert str(running_service.settings.state) not in job["error"]["detail"]
    video_id = accepted.json()["video_id"]
    assert running_service.http.get(f"/v1/videos/{video_id}").json()["state"] == "failed"
    assert running_service.http.get(f"/v1/videos/{video_id}/thumbnail").status_code == 409
    assert video_id not in running_service.found()
    running_service.ingested()


def test_a_damaged_video_says_how_much_of_it_is_searched(
    running_service: RunningService, tmp_path: Path
) -> None:
    path = write_painted(tmp_path / "cut.mkv", 20, size=(160, 120))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    accepted = running_service.upload(path).json()
    assert running_service.finished(accepted["job_id"])["state"] == "ready"
    video = running_service.http.get(f"/v1/videos/{accepted['video_id']}").json()
    assert video["duration"] == pytest.approx(20, abs=0.2)
    assert 5 < video["indexed_seconds"] < 15


def test_bad_uploads_are_refused_at_the_door(
    running_service: RunningService, tmp_path: Path
) -> None:
    empty, huge = tmp_path / "empty.mp4", tmp_path / "huge.mp4"
    empty.touch()
    huge.write_bytes(bytes(MAX_UPLOAD_BYTES + 1))
    answers = [running_service.upload(path) for path in (empty, huge)]
    codes = [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert codes == [(422, "invalid_input"), (413, "upload_too_large")]
    assert list(running_service.settings.folders.uploads.glob("*.part")) == []


def test_worker_that_is_killed_leaves_its_job_to_the_next(
    running_service: RunningService, triton_server: RunningTriton
) -> None:
    (triton, *_) = sorted(triton_server.process.members(), key=lambda p: p.create_time())
    triton.send_signal(signal.SIGSTOP)
    try:
        accepted = running_service.upload(running_service.new_video(300)).json()
        running_service.until_encoding(accepted["job_id"])
        running_service.kill(running_service.worker)
        assert running_service.http.get(f"/v1/jobs/{accepted['job_id']}").json()["state"] == (
            "running"
        )
    finally:
        triton.send_signal(signal.SIGCONT)
        running_service.start(running_service.worker)
    job = running_service.finished(accepted["job_id"])
    assert (job["state"], job["attempts"]) == ("ready", 2)
    assert accepted["video_id"] in running_service.found()


def test_worker_that_is_stopped_gives_its_job_back(
    running_service: RunningService, triton_server: RunningTriton
) -> None:
    triton_server.kill()
    try:
        accepted = running_service.upload(running_service.new_video()).json()
        running_service.until(accepted["job_id"], {"running"})
        leader = running_service.worker.leader()
        assert leader is not None
        leader.terminate()
        assert leader.wait(10) in (0, None)
        job = running_service.http.get(f"/v1/jobs/{accepted['job_id']}").json()
        assert (job["state"], job["attempts"]) == ("queued", 0)
    finally:
        triton_server.restart()
        running_service.start(running_service.worker)
    assert running_service.finished(accepted["job_id"])["state"] == "ready"


def test_service_that_is_killed_loses_nothing(running_service: RunningService) -> None:
    before = running_service.ingested()
    accepted = running_service.upload(running_service.new_video()).json()
    running_service.kill(running_service.service)
    running_service.start(running_service.service)
    assert running_service.finished(accepted["job_id"])["state"] == "ready"
    assert {before, accepted["video_id"]} <= running_service.found()


def test_children_do_not_outlive_a_killed_supervisor(running_service: RunningService) -> None:
    leader = running_service.service.leader()
    assert leader is not None
    leader.kill()
    try:
        wait_for(lambda: not running_service.service.members(), seconds=60)
    finally:
        running_service.start(running_service.service)


def test_second_worker_is_refused(running_service: RunningService) -> None:
    environment = {**os.environ, **running_service.worker.variables}
    second = subprocess.run(
        running_service.worker.command, env=environment, capture_output=True, text=True, check=False
    )
    assert second.returncode == 2
    assert "another worker" in second.stderr


def test_without_triton_searches_say_when_and_jobs_wait(
    running_service: RunningService, triton_server: RunningTriton
) -> None:
    triton_server.kill()
    try:
        answer = running_service.http.post("/v1/search", json={"query": "a photo of the dog"})
        assert (answer.status_code, answer.json()["code"]) == (503, "model_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        wait_for(lambda: running_service.http.get("/readyz").status_code == 503)
        assert running_service.http.get("/livez").status_code == 200
        accepted = running_service.upload(running_service.new_video())
        assert accepted.status_code == 202
        running_service.until(accepted.json()["job_id"], {"running"})
        job = running_service.http.get(f"/v1/jobs/{accepted.json()['job_id']}").json()
        assert job["state"] in ("queued", "running")
    finally:
        triton_server.restart()
    wait_for(lambda: running_service.http.get("/readyz").status_code == 200)
    assert running_service.finished(accepted.json()["job_id"])["state"] == "ready"
    assert accepted.json()["video_id"] in running_service.found()


def test_half_an_ingest_is_never_searchable(running_service: RunningService) -> None:
    """What a worker wrote before its commit counts for nothing, and the next one removes it."""
    video_id = running_service.ingested()
    folder = running_service.settings.folders.vectors / video_id
    (named,) = folder.iterdir()
    (folder / "half.npz").write_bytes(named.read_bytes()[:100])
    running_service.kill(running_service.worker)
    running_service.start(running_service.worker)
    assert list(folder.iterdir()) == [named]
    assert video_id in running_service.found()


def test_openapi_document_is_the_apps_not_bentomls(running_service: RunningService) -> None:
    document = running_service.http.get("/docs.json").json()
    assert document["info"]["title"] == "qasir"
    assert "/v1/search" in document["paths"]
    assert running_service.http.get("/nowhere").json()["code"] == "not_found"


def test_catalogue_counts_agree_with_the_library(running_service: RunningService) -> None:
    running_service.ingested()
    catalogue = Catalogue(running_service.settings.folders.catalogue)
    ready = [video for video in catalogue.videos.page(1000).rows if video.state == "ready"]
    catalogue.close()
    answer = running_service.search()
    assert answer["searched"]["video_count"] == len(ready)
    indexed = sum(video.indexed_seconds for video in ready)
    assert answer["searched"]["seconds"] == pytest.approx(indexed)
