"""Each answer over HTTP equals that of its gRPC twin, errors included, on the real stack.

Messages are read by protobuf's own JSON form, not by the code that qasir reads them with.
"""

import base64
import json
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

import httpx
import numpy as np
import pytest
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from httpx_sse import connect_sse

from qasir.contract.convert import RENAMED
from qasir.v1 import retrieval_pb2 as pb
from tests.support.retrieval import new_stub
from tests.support.service import RunningService
from tests.support.triton import RunningTriton
from tests.support.twins import (
    Twins,
    activate,
    attention,
    build,
    embed,
    get,
    page,
    search,
    uploading,
)
from tests.support.waiting import wait_for

QUERY = "a green ball on the house"
METADATA = {"year": 2020, "ratio": 0.25, "tags": ["sea", 3, None, {"deep": True}], "note": "é"}


def assert_equal(running_service: RunningService, twins: Twins) -> None:
    """Equal at once, or, where processes round differently, once one process gives both."""

    def equal() -> bool:
        answer = running_service.http.request(twins.method, twins.path, **twins.http)
        assert answer.is_success, answer.text
        with new_stub(running_service.settings) as stub:
            message = getattr(stub, twins.call)(twins.message)
        return bool(comparable(answer.json()) == comparable(from_message(message)))

    wait_for(equal, seconds=10)


def from_message(message: Message) -> Any:
    answer = MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    # A response that wraps one answer, which HTTP sends as it is.
    (first, *others) = message.DESCRIPTOR.fields
    wraps = not others and first.message_type is not None and not first.is_repeated
    return answer[first.name] if wraps else answer


def comparable(value: Any, name: str = "") -> Any:
    """One form for what JSON and protobuf's JSON write differently."""
    if name == "timings_ms":
        return "total" in value
    if name == "vectors":
        rows = [row["values"] if isinstance(row, dict) else row for row in value]
        return np.array(rows, np.float32).tolist()
    if name in RENAMED.values() and value is not None:
        return datetime.fromisoformat(value)
    if name == "bytes":
        return int(value)
    if isinstance(value, dict):
        named = {RENAMED.get(key) or key: each for key, each in value.items()}
        said = {key: comparable(each, key) for key, each in named.items()}
        # Protobuf has no null, but for what users put into their metadata.
        return said if name == "metadata" else {k: v for k, v in said.items() if v is not None}
    return [comparable(each) for each in value] if isinstance(value, list) else value


@pytest.fixture(scope="module")
def video_id(running_service: RunningService) -> str:
    """A video with a title and metadata, ready, beside another one."""
    running_service.ingested(seconds=30)
    path = running_service.new_video(60)
    fields = {"title": "By the sea", "metadata": json.dumps(METADATA)}
    accepted = running_service.upload(path, **fields).json()
    assert running_service.finished(accepted["job_id"])["state"] == "ready"
    return str(accepted["video_id"])


def test_a_video_and_its_job(running_service: RunningService, video_id: str) -> None:
    message = pb.GetVideoRequest(video_id=video_id)
    assert_equal(running_service, get(f"/v1/videos/{video_id}", "GetVideo", message))
    job_id = running_service.http.get(f"/v1/videos/{video_id}").json()["job"]["id"]
    job = pb.GetJobRequest(job_id=job_id)
    assert_equal(running_service, get(f"/v1/jobs/{job_id}", "GetJob", job))


def test_a_failed_job_and_its_retry(running_service: RunningService, stub: Any) -> None:
    path = running_service.folder / "words.mp4"
    path.write_text("words in the place of a video")
    job_id = running_service.upload(path).json()["job_id"]
    assert running_service.finished(job_id)["state"] == "failed"
    message = pb.GetJobRequest(job_id=job_id)
    assert_equal(running_service, get(f"/v1/jobs/{job_id}", "GetJob", message))
    again = from_message(stub.RetryJob(pb.RetryJobRequest(job_id=job_id)))
    running_service.finished(again["id"])
    other = running_service.http.post(f"/v1/jobs/{again['id']}/retry").json()
    assert again.keys() >= {key for key, value in comparable(other).items() if value is not None}
    assert (again["state"], again["attempts"]) == (other["state"], other["attempts"])


def test_the_events_of_a_job(running_service: RunningService, triton_server: RunningTriton) -> None:
    def by_http(heard: list[Any]) -> list[Any]:
        url = f"/v1/jobs/{job_id}/events"
        with (
            httpx.Client(base_url=running_service.http.base_url, timeout=30) as http,
            connect_sse(http, "GET", url) as source,
        ):
            for event in source.iter_sse():
                heard.append(comparable(event.json()))
        return heard

    def by_grpc(heard: list[Any]) -> list[Any]:
        with new_stub(running_service.settings) as stub:
            for message in stub.WatchJob(pb.WatchJobRequest(job_id=job_id)):
                heard.append(comparable(from_message(message)))
        return heard

    events: list[Any] = []
    messages: list[Any] = []
    with ThreadPoolExecutor(2) as threads:
        with triton_server.paused():
            job_id = running_service.upload(running_service.new_video(90)).json()["job_id"]
            watching = [threads.submit(by_http, events), threads.submit(by_grpc, messages)]
            wait_for(lambda: events and messages)
        for each in watching:
            each.result()
    assert events[-1] == messages[-1]
    assert events[-1]["state"] == "ready"
    # Each looks when it does; what both saw, they saw alike.
    states = ["queued", "running", "ready"]
    for seen in (events, messages):
        assert sorted(seen, key=lambda job: (states.index(job["state"]), job["progress"])) == seen
        assert len(seen) > 1
    assert [by_http([]), by_grpc([])] == [events[-1:], messages[-1:]]


@pytest.mark.parametrize("asked", [{}, {"limit": 1}])
def test_pages(running_service: RunningService, video_id: str, asked: dict[str, int]) -> None:
    videos = page("/v1/videos", "ListVideos", pb.ListVideosRequest, **asked)
    assert_equal(running_service, videos)
    assert_equal(running_service, page("/v1/jobs", "ListJobs", pb.ListJobsRequest, **asked))
    ready = page("/v1/jobs", "ListJobs", pb.ListJobsRequest, state="ready", **asked)
    assert_equal(running_service, ready)


def test_a_page_goes_on_over_the_other_transport(
    running_service: RunningService, video_id: str
) -> None:
    token = running_service.http.get("/v1/videos?limit=1").json()["next_page_token"]
    videos = page("/v1/videos", "ListVideos", pb.ListVideosRequest, limit=1, page_token=token)
    assert_equal(running_service, videos)
    token = running_service.http.get("/v1/jobs?limit=1").json()["next_page_token"]
    jobs = page("/v1/jobs", "ListJobs", pb.ListJobsRequest, limit=1, page_token=token)
    assert_equal(running_service, jobs)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"top_k": 1},
        {"top_k": 1, "offset": 1},
        {"mode": "fast"},
        {"grid_size": 2},
        {"model": "tiny"},
        {"model": "tiny@1"},
        {"group_by": "moment", "top_k": 5},
        {"filter": {"duration": {"gte": 1}, "metadata": {"n": {"exists": False}}}},
        {"context_seconds": 2.5},
    ],
    ids=str,
)
def test_searches(running_service: RunningService, video_id: str, asked: dict[str, Any]) -> None:
    assert_equal(running_service, search(query=QUERY, **asked))


def test_examples(running_service: RunningService, video_id: str) -> None:
    """A picture is bytes here and base64 there."""
    assert_equal(running_service, search(example={"video_id": video_id, "start": 0, "end": 2}))
    jpeg = running_service.http.get(f"/v1/videos/{video_id}/thumbnail").content
    message = pb.SearchRequest(example=pb.Example(image=jpeg), mode="fast")
    asked = {"example": {"image": base64.b64encode(jpeg).decode()}, "mode": "fast"}
    twins = Twins("POST", "/v1/search", "Search", message, {"json": asked})
    assert_equal(running_service, twins)


def test_attention(running_service: RunningService, video_id: str) -> None:
    assert_equal(running_service, attention(video_id, query=QUERY))
    example = {"video_id": video_id, "start": 0, "end": 2}
    assert_equal(running_service, attention(video_id, example=example, grid_size=2))


def test_embeddings(running_service: RunningService) -> None:
    assert_equal(running_service, embed(["a dog", QUERY]))


def test_models(running_service: RunningService) -> None:
    assert_equal(running_service, get("/v1/models", "ListModels", pb.ListModelsRequest()))
    one = get("/v1/models/1", "GetModel", pb.GetModelRequest(version=1))
    assert_equal(running_service, one)
    # The active one again: an activation that changes nothing, a build with nothing to do.
    assert_equal(running_service, activate(1))
    assert_equal(running_service, build(1))


def test_an_upload(running_service: RunningService, stub: Any) -> None:
    """The same bytes by the other transport are the same video; what was said of it is kept."""
    path = running_service.new_video()
    requests = uploading(path.read_bytes(), filename=path.name, metadata=METADATA)
    by_grpc = from_message(stub.UploadVideo(iter(requests)))
    running_service.finished(by_grpc["job_id"])
    by_http = running_service.upload(path).json()
    assert by_http == {**by_grpc, "state": "ready", "existing": True}
    kept = running_service.http.get(f"/v1/videos/{by_grpc['video_id']}")
    assert (kept.json()["title"], kept.json()["metadata"]) == (path.stem, METADATA)
    assert '"year":2020' in kept.text.replace(" ", ""), "a whole number stays one"
    titled = uploading(path.read_bytes(), filename=path.name, title="By the lake")
    again = from_message(stub.UploadVideo(iter(titled)))
    assert again == {**by_http, "updated": True}
    kept = running_service.http.get(f"/v1/videos/{by_grpc['video_id']}").json()
    assert (kept["title"], kept["metadata"]) == ("By the lake", METADATA)
    stub.DeleteVideo(pb.DeleteVideoRequest(video_id=by_grpc["video_id"]))
    assert running_service.http.get(f"/v1/videos/{by_grpc['video_id']}").status_code == 404
