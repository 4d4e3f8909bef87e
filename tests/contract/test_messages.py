"""Each contract type and its message have the same fields, of types that hold the same values."""

import inspect
import pkgutil
from datetime import datetime
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pydantic import BaseModel, JsonValue

from qasir import contract
from qasir.contract.base import Answer, FieldError, PageRequest, Problem, Request
from qasir.contract.convert import RENAMED
from qasir.contract.jobs import Job, JobError, JobPage, ListJobsRequest
from qasir.contract.models import (
    ActivateModelRequest,
    BuildModelRequest,
    Coverage,
    Model,
    ModelList,
    Reranker,
)
from qasir.contract.search import (
    Attention,
    EmbedRequest,
    EmbedResponse,
    Example,
    GetAttentionRequest,
    Moment,
    RerankerStatus,
    Searched,
    SearchRequest,
    SearchResponse,
    SearchResult,
    VideoReference,
)
from qasir.contract.videos import (
    ListVideosRequest,
    Upload,
    UploadHeader,
    Video,
    VideoDetail,
    VideoPage,
)
from qasir.filters import Filter
from qasir.v1 import retrieval_pb2 as pb

MESSAGES: dict[type[BaseModel], Any] = {
    ActivateModelRequest: pb.ActivateModelRequest,
    Attention: pb.Attention,
    BuildModelRequest: pb.BuildModelRequest,
    Coverage: pb.Coverage,
    EmbedRequest: pb.EmbedRequest,
    EmbedResponse: pb.EmbedResponse,
    Example: pb.Example,
    GetAttentionRequest: pb.GetAttentionRequest,
    Job: pb.Job,
    JobError: pb.JobError,
    JobPage: pb.ListJobsResponse,
    ListJobsRequest: pb.ListJobsRequest,
    ListVideosRequest: pb.ListVideosRequest,
    Model: pb.Model,
    ModelList: pb.ListModelsResponse,
    Moment: pb.Moment,
    Reranker: pb.Reranker,
    RerankerStatus: pb.RerankerStatus,
    SearchRequest: pb.SearchRequest,
    SearchResponse: pb.SearchResponse,
    SearchResult: pb.SearchResult,
    Searched: pb.Searched,
    Upload: pb.Upload,
    UploadHeader: pb.UploadHeader,
    Video: pb.Video,
    VideoDetail: pb.Video,
    VideoPage: pb.ListVideosResponse,
    VideoReference: pb.VideoReference,
}
# A status and its metadata are what a problem is over gRPC.
NO_MESSAGE = {Answer, FieldError, PageRequest, Problem, Request}
# Requests whose fields HTTP has in the path, responses that wrap an answer, and the lists that
# protobuf needs a message for.
NO_CONTRACT = {
    *("GetVideoRequest", "DeleteVideoRequest", "GetJobRequest", "WatchJobRequest"),
    *("CancelJobRequest", "RetryJobRequest", "ListModelsRequest", "GetModelRequest"),
    *("RetireModelRequest", "UploadVideoRequest", "Vector", "DeleteVideoResponse"),
}
WRAPPED: dict[str, type[BaseModel]] = {
    "UploadVideoResponse": Upload,
    "GetVideoResponse": VideoDetail,
    "GetJobResponse": Job,
    "WatchJobResponse": Job,
    "CancelJobResponse": Job,
    "RetryJobResponse": Job,
    "GetAttentionResponse": Attention,
    "GetModelResponse": Model,
    "BuildModelResponse": Model,
    "ActivateModelResponse": Model,
    "RetireModelResponse": Model,
}
# What HTTP has in the path, beside a body, and what other contract types of the message have.
ELSEWHERE: dict[type[BaseModel], set[str]] = {
    ActivateModelRequest: {"version"},
    BuildModelRequest: {"version"},
    GetAttentionRequest: {"video_id"},
    Video: {"job"},
}
NUMBERS = {
    int: (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64),
    float: (FieldDescriptor.TYPE_DOUBLE,),
    str: (FieldDescriptor.TYPE_STRING,),
    bool: (FieldDescriptor.TYPE_BOOL,),
    bytes: (FieldDescriptor.TYPE_BYTES,),
}


def types_of_the_contract() -> set[type[BaseModel]]:
    names = [module.name for module in pkgutil.iter_modules(contract.__path__)]
    modules = [import_module(f"{contract.__name__}.{name}") for name in names]
    return {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, BaseModel) and kind.__module__ == module.__name__
    }


def test_every_type_has_a_message_and_the_other_way_round() -> None:
    assert types_of_the_contract() - NO_MESSAGE == set(MESSAGES)
    messages = set(pb.DESCRIPTOR.message_types_by_name)
    known = {kind.DESCRIPTOR.name for kind in MESSAGES.values()}
    assert messages - NO_CONTRACT - WRAPPED.keys() == known


@pytest.mark.parametrize("name", WRAPPED)
def test_a_response_wraps_one_answer(name: str) -> None:
    """So that clients find it whatever its name."""
    kind = WRAPPED[name]
    (field,) = pb.DESCRIPTOR.message_types_by_name[name].fields
    assert field.message_type is MESSAGES[kind].DESCRIPTOR


@pytest.mark.parametrize("kind", MESSAGES, ids=lambda kind: kind.__name__)
def test_fields_agree(kind: type[BaseModel]) -> None:
    message: Descriptor = MESSAGES[kind].DESCRIPTOR
    fields = {field.name for field in message.fields} - ELSEWHERE.get(kind, set())
    assert {RENAMED.get(name, name) for name in kind.model_fields} == fields, (
        f"{kind.__name__} and {message.name} have different fields: change "
        f"src/qasir/v1/retrieval.proto, then run `make proto`"
    )
    for name, known in kind.model_fields.items():
        if (kind, name) == (EmbedResponse, "vectors"):
            continue
        said = f"{kind.__name__}.{name} is {known.annotation}, which {message.name} cannot hold"
        field = message.fields_by_name[RENAMED.get(name, name)]
        assert holds(field, known.annotation), said
        # A request may leave out whatever has a default; so leaving out must show.
        optional = issubclass(kind, Request) and not known.is_required()
        if optional and not field.is_repeated:
            assert field.has_presence, f"{said}: make it optional"


def holds(field: FieldDescriptor, kind: Any) -> bool:
    """Whether every value of a Python type fits the field."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType) and NoneType in inner:
        (rest,) = (each for each in inner if each is not NoneType)
        return field.has_presence and holds(field, rest)
    if origin is list:
        return field.is_repeated and of_type(field, inner[0])
    if origin is dict and inner[1] is not JsonValue:
        assert field.message_type is not None
        entry = field.message_type.fields_by_name
        return of_type(entry["key"], inner[0]) and of_type(entry["value"], inner[1])
    return not field.is_repeated and of_type(field, kind)


def of_type(field: FieldDescriptor, kind: Any) -> bool:
    origin = get_origin(kind)
    if origin is Annotated:
        return of_type(field, get_args(kind)[0])
    if origin is Literal:
        return field.type == FieldDescriptor.TYPE_STRING
    if kind in NUMBERS:
        return field.type in NUMBERS[kind]
    if field.message_type is None:
        return False
    if kind is datetime:
        return bool(field.message_type.full_name == "google.protobuf.Timestamp")
    if origin is dict or kind is Filter:
        return bool(field.message_type.full_name == "google.protobuf.Struct")
    return kind in MESSAGES and field.message_type is MESSAGES[kind].DESCRIPTOR
