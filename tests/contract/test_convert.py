"""Contract types become messages and come back; nothing is lost on the way."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from qasir.contract.convert import from_message, to_message
from qasir.contract.jobs import Job, JobError, JobPage, ListJobsRequest
from qasir.contract.models import ActivateModelRequest, Coverage, Model, ModelList, Reranker
from qasir.contract.search import (
    Attention,
    EmbedRequest,
    EmbedResponse,
    Moment,
    RerankerStatus,
    Searched,
    SearchRequest,
    SearchResponse,
    SearchResult,
    VideoReference,
)
from qasir.contract.videos import Upload, UploadHeader, Video, VideoDetail, VideoPage
from qasir.v1 import retrieval_pb2 as pb

WHOLE_DOUBLES = 2**53
NOW = datetime(2026, 1, 2, 3, 4, 5, 678900, UTC)

scalars = (
    st.none()
    | st.booleans()
    | st.integers(-WHOLE_DOUBLES, WHOLE_DOUBLES)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
keys = st.text(st.characters(exclude_categories=["Cs"]))
objects = st.dictionaries(
    keys,
    st.recursive(
        scalars, lambda inner: st.lists(inner) | st.dictionaries(keys, inner), max_leaves=8
    ),
)

JOB = Job(
    id="j",
    video_id="v",
    state="of a newer service",
    stage="probe",
    progress=0.1,
    attempts=1,
    error=JobError(code="no_frames", detail="empty", retryable=False),
    created_at=NOW,
    started_at=NOW,
)
VIDEO = Video(
    id="v",
    title="By the sea",
    metadata={"year": 2020, "tags": ["sea", 3, None, {"deep": True}]},
    sha256="ab",
    bytes=2**40,
    duration=0.1,
    width=64,
    height=48,
    codec="h264",
    container="mov,mp4",
    state="ready",
    created_at=NOW,
    indexed_seconds=0.1,
)
MOMENT = Moment(start=0.1, end=0.2, score=1 / 3, super_image=2, cell=0, thumbnail_url="/v1")
RESULT = SearchResult(
    rank=2,
    score=1 / 3,
    score_z=-0.0,
    video=VideoReference(id="v", title="", duration=0.1),
    moments=[MOMENT, MOMENT.model_copy(update={"cell": None})],
)
MODEL = Model(
    name="lite",
    version=2,
    state="ready",
    backbone="b",
    variant="v",
    fingerprint="f",
    grid_sizes=[2, 1],
    fps=1.5,
    coverage=Coverage(video_count=3, embedded_count=2, failed_count=1),
)
ANSWERS: list[tuple[BaseModel, Any]] = [
    (JobPage(jobs=[JOB], next_page_token="x"), pb.ListJobsResponse),
    (JobPage(jobs=[]), pb.ListJobsResponse),
    (VideoPage(videos=[VIDEO], total_count=1), pb.ListVideosResponse),
    (VideoDetail(**dict(VIDEO), job=JOB), pb.Video),
    (VIDEO.model_copy(update={"metadata": {}}), pb.Video),
    (Upload(video_id="v", job_id="j", state="queued", existing=True), pb.Upload),
    (
        SearchResponse(
            results=[RESULT],
            searched=Searched(video_count=1, seconds=0.1),
            snapshot="s",
            provisional=True,
            reranker=RerankerStatus(
                fingerprint="f", grid_size=1, scored_count=2, candidate_count=3
            ),
            mode="hybrid",
            grid_size=2,
            timings_ms={"total": 1.5, "recall": 0.1},
        ),
        pb.SearchResponse,
    ),
    (
        Attention(
            video_id="v",
            grid_size=2,
            super_image_count=1,
            starts=[0.0, 1.0],
            ends=[1.0, 2.0],
            weights=[0.25, 0.75],
            moments=[MOMENT],
        ),
        pb.Attention,
    ),
    (EmbedResponse(vectors=[[0.5, 0.25], [1.0, 0.0]], dim=2, fingerprint="f"), pb.EmbedResponse),
    (
        ModelList(models=[MODEL, MODEL.model_copy(update={"created_at": NOW})]),
        pb.ListModelsResponse,
    ),
]
REQUESTS: list[tuple[BaseModel, Any]] = [
    (SearchRequest(), pb.SearchRequest),
    (
        SearchRequest.model_validate(
            {
                "query": "a dog",
                "top_k": 3,
                "filter": {
                    "created_at": {"gt": "2026-01-01T00:00:00+01:00"},
                    "title": {"in": ["a", "b"]},
                    "metadata": {"camera": {"in": ["a", 1, True]}, "rating": {"gte": 3}},
                },
                "example": {"image": "/wA="},
                "context_seconds": 0.1,
            }
        ),
        pb.SearchRequest,
    ),
    (ListJobsRequest(state="failed", page_token="x"), pb.ListJobsRequest),
    (EmbedRequest(texts=["a", "b"]), pb.EmbedRequest),
    (
        UploadHeader(filename="a.mp4", metadata={"a": {"b": None}}, expected_bytes=0),
        pb.UploadHeader,
    ),
    (Reranker(version=1, grid_size=2), pb.Reranker),
]


@pytest.mark.parametrize(("value", "kind"), ANSWERS + REQUESTS, ids=lambda value: str(value)[:40])
def test_round_trip(value: BaseModel, kind: Any) -> None:
    message = kind.FromString(to_message(kind, value).SerializeToString())
    found = from_message(type(value), message)
    assert found == value
    # Equality takes 1 for 1.0; protobuf keeps no order of keys.
    assert sorted_json(found) == sorted_json(value)


def sorted_json(value: BaseModel) -> str:
    return json.dumps(value.model_dump(mode="json"), sort_keys=True)


def test_what_is_not_set_stays_unset() -> None:
    message = to_message(pb.SearchRequest, SearchRequest(query="a", offset=0, mode="accurate"))
    assert sorted(field.name for field, _ in message.ListFields()) == ["mode", "offset", "query"]
    assert to_message(pb.SearchRequest, SearchRequest()) == pb.SearchRequest()
    assert not to_message(pb.ListJobsResponse, JobPage(jobs=[])).HasField("next_page_token")
    job = from_message(Job, pb.Job(id="j", create_time=NOW))
    assert (job.error, job.stage, job.attempts) == (None, None, 0)


def test_fields_of_a_newer_service_are_ignored() -> None:
    """A message of the future has the bytes of unknown fields."""
    future = pb.JobError(code="a").SerializeToString() + pb.Upload(updated=True).SerializeToString()
    assert from_message(JobError, pb.JobError.FromString(future)).code == "a"
    assert Job.model_validate({**JOB.model_dump(), "mood": "good"}) == JOB


def test_an_answer_without_what_it_must_have_is_refused() -> None:
    with pytest.raises(ValidationError, match="searched"):
        from_message(SearchResponse, pb.SearchResponse(snapshot="s"))


def test_what_http_has_in_the_path() -> None:
    request = ActivateModelRequest(max_missing=1)
    message = to_message(pb.ActivateModelRequest, request, version=2)
    assert (message.version, message.max_missing) == (2, 1)
    assert from_message(ActivateModelRequest, message, ["version"]) == request
    with pytest.raises(ValidationError, match="version"):
        from_message(ActivateModelRequest, message)


def test_a_number_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="out of range"):
        to_message(pb.SearchRequest, SearchRequest(top_k=2**40))


@given(objects)
def test_objects_come_back_from_a_struct(given_object: dict[str, Any]) -> None:
    struct = Struct()
    struct.update(given_object)
    assert from_message(UploadHeader, pb.UploadHeader(metadata=struct)).metadata == given_object
    message = to_message(pb.UploadHeader, UploadHeader(metadata=given_object))
    assert from_message(UploadHeader, message).metadata == given_object


def test_numbers_stay_numbers() -> None:
    fields = {**VIDEO.model_dump(), "metadata": {"year": 2020, "ratio": 1.5}}
    found = from_message(Video, to_message(pb.Video, Video(**fields)))
    assert (found.bytes, found.duration) == (2**40, 0.1)
    kinds = (type(found.metadata["year"]), type(found.metadata["ratio"]))
    assert kinds == (int, float)
