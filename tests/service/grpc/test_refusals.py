"""What HTTP refuses, gRPC refuses in the same words, on the real stack."""

import json
from typing import Any

import grpc
import pytest

from qasir.v1 import retrieval_pb2 as pb
from service.http.problems import STATUSES
from tests.support.retrieval import refused
from tests.support.service import MAX_UPLOAD_BYTES, RunningService
from tests.support.twins import (
    Twins,
    activate,
    attention,
    build,
    embed,
    get,
    page,
    retire,
    search,
    uploading,
)
from tests.support.waiting import wait_for

QUERY = "a green ball on the house"

REFUSED = [
    get("/v1/videos/v0", "GetVideo", pb.GetVideoRequest(video_id="v0")),
    Twins("DELETE", "/v1/videos/v0", "DeleteVideo", pb.DeleteVideoRequest(video_id="v0")),
    get("/v1/jobs/j0", "GetJob", pb.GetJobRequest(job_id="j0")),
    Twins("POST", "/v1/jobs/j0/cancel", "CancelJob", pb.CancelJobRequest(job_id="j0")),
    Twins("POST", "/v1/jobs/j0/retry", "RetryJob", pb.RetryJobRequest(job_id="j0")),
    page("/v1/videos", "ListVideos", pb.ListVideosRequest, limit=0),
    page("/v1/videos", "ListVideos", pb.ListVideosRequest, limit=100_000),
    page("/v1/videos", "ListVideos", pb.ListVideosRequest, page_token="x"),
    page("/v1/jobs", "ListJobs", pb.ListJobsRequest, page_token="WzEuNSwidjAiXQ"),
    page("/v1/jobs", "ListJobs", pb.ListJobsRequest, limit=0, page_token=""),
    page("/v1/jobs", "ListJobs", pb.ListJobsRequest, state="lost"),
    get("/v1/models/99", "GetModel", pb.GetModelRequest(version=99)),
    build(0),
    build(99),
    activate(99),
    activate(1, max_missing=-1),
    activate(1, reranker={"version": 1, "grid_size": 0}),
    activate(1, reranker={"version": 99, "grid_size": 2}),
    retire(99),
    retire(1),
    search(),
    search(query=""),
    search(query=" \n "),
    search(query="x" * 501),
    search(query=QUERY, top_k=0),
    search(query=QUERY, top_k=101),
    search(query=QUERY, offset=-1),
    search(query=QUERY, offset=1001),
    search(query=QUERY, mode="quick"),
    search(query=QUERY, group_by="day"),
    search(query=QUERY, model="another"),
    search(query=QUERY, model=""),
    search(query=QUERY, grid_size=7),
    search(query=QUERY, context_seconds=-1),
    search(query=QUERY, filter={"length": {"gte": 1}}),
    search(query=QUERY, filter={"metadata": {"a": {"gte": [1]}}}),
    search(example={"video_id": "v0", "start": 0, "end": 1}),
    search(example={"video_id": "v0", "start": 1}),
    search(example={}),
    attention("v0", query=QUERY),
    attention("v0"),
    attention("v0", query=QUERY, grid_size=7),
    embed([]),
    embed(["a"] * 65),
    embed(["a", ""]),
]


@pytest.mark.parametrize("twins", REFUSED, ids=lambda twins: twins.name[:80])
def test_refusals(running_service: RunningService, stub: Any, twins: Twins) -> None:
    problem = running_service.http.request(twins.method, twins.path, **twins.http).json()
    refusal = refused(lambda: getattr(stub, twins.call)(twins.message))
    assert (refusal.code, refusal.detail) == (problem["code"], problem["detail"])
    assert refusal.metadata["qasir-retryable"] == str(problem["retryable"]).lower()
    statuses = {known.grpc for known in STATUSES.values() if known.http == problem["status"]}
    assert refusal.status.name in statuses


@pytest.mark.parametrize(
    ("content", "header", "form"),
    [
        (b"", {}, {}),
        (bytes(MAX_UPLOAD_BYTES + 1), {}, {}),
        (b"x", {"title": "x" * 301}, {"title": "x" * 301}),
        (b"x", {"metadata": {"a": "x" * 20_000}}, {"metadata": json.dumps({"a": "x" * 20_000})}),
    ],
    ids=["empty", "too large", "long title", "long metadata"],
)
def test_refused_uploads(
    running_service: RunningService,
    stub: Any,
    content: bytes,
    header: dict[str, Any],
    form: dict[str, str],
) -> None:
    files = {"video": ("a.mp4", content)}
    problem = running_service.http.post("/v1/videos", files=files, data=form).json()
    refusal = refused(
        lambda: stub.UploadVideo(iter(uploading(content, filename="a.mp4", **header)))
    )
    assert (refusal.code, refusal.detail) == (problem["code"], problem["detail"])
    assert list(running_service.settings.folders.uploads.glob("*.part")) == []


def test_without_triton_both_say_when_to_come_again(
    running_service: RunningService, triton_server: Any, stub: Any
) -> None:
    text = "nobody has asked for this yet"
    triton_server.kill()
    try:
        answer = running_service.http.post("/v1/search", json={"query": text})
        refusal = refused(lambda: stub.Search(pb.SearchRequest(query=text)))
    finally:
        triton_server.restart()
    assert refusal.status is grpc.StatusCode.UNAVAILABLE
    assert refusal.code == answer.json()["code"] == "model_unavailable"
    assert refusal.metadata["retry-after"] == answer.headers["retry-after"]
    pushback = int(refusal.metadata["grpc-retry-pushback-ms"])
    assert pushback == 1000 * int(answer.headers["retry-after"])
    wait_for(lambda: running_service.http.get("/readyz").status_code == 200)


def test_every_call_has_a_twin_here() -> None:
    """Whoever adds a call adds it above."""
    calls = {method.name for method in pb.DESCRIPTOR.services_by_name["RetrievalService"].methods}
    asked = {twins.call for twins in REFUSED}
    by_hand = {"UploadVideo", "WatchJob", "ListModels"}
    assert calls == asked | by_hand
