"""Each HTTP schema and its message have the same fields, of types that hold the same values."""

import inspect
import pkgutil
from datetime import datetime
from importlib import import_module
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from pydantic import BaseModel

from qasir.filters import Filter
from qasir.proto.v1 import retrieval_pb2 as pb
from service.http import schemas
from service.http.schemas.attention import AttentionIn, AttentionOut
from service.http.schemas.jobs import JobErrorOut, JobOut, JobPage, JobsIn
from service.http.schemas.models import (
    ActivateIn,
    BuildIn,
    FineIn,
    GenerationOut,
    GenerationsOut,
    HeldOut,
)
from service.http.schemas.search import (
    EmbedIn,
    EmbedOut,
    ExampleIn,
    FineOut,
    MomentOut,
    Result,
    Searched,
    SearchIn,
    SearchOut,
    VideoRef,
)
from service.http.schemas.shared import FieldError, PageIn, Problem, Strict
from service.http.schemas.videos import Upload, VideoDetail, VideoOut, VideoPage

TWINS: dict[type[BaseModel], Any] = {
    ActivateIn: pb.ActivateGenerationRequest,
    AttentionIn: pb.AttentionRequest,
    AttentionOut: pb.Attention,
    BuildIn: pb.BuildGenerationRequest,
    EmbedIn: pb.EmbedRequest,
    EmbedOut: pb.Embeddings,
    ExampleIn: pb.Example,
    FineIn: pb.FineGeneration,
    FineOut: pb.FineScored,
    GenerationOut: pb.Generation,
    GenerationsOut: pb.Generations,
    HeldOut: pb.HeldVideos,
    JobErrorOut: pb.JobError,
    JobOut: pb.Job,
    JobPage: pb.JobPage,
    JobsIn: pb.ListJobsRequest,
    MomentOut: pb.Moment,
    PageIn: pb.ListVideosRequest,
    Result: pb.Result,
    SearchIn: pb.SearchRequest,
    SearchOut: pb.SearchResponse,
    Searched: pb.Searched,
    Upload: pb.Upload,
    VideoDetail: pb.VideoDetail,
    VideoOut: pb.Video,
    VideoPage: pb.VideoPage,
    VideoRef: pb.VideoRef,
}
# A status and its metadata are what a problem is over gRPC.
HTTP_ONLY = {FieldError, Problem, Strict}
# What is in the path or in the form over HTTP, and what protobuf needs a message for.
GRPC_ONLY = {
    *("GetVideoRequest", "DeleteVideoRequest", "GetJobRequest", "WatchJobRequest"),
    *("CancelJobRequest", "RetryJobRequest", "UploadVideoRequest", "UploadHeader", "Vector"),
    *("ListGenerationsRequest", "RetireGenerationRequest"),
}
# What HTTP has in the path, beside a body.
IN_PATH: dict[type[BaseModel], set[str]] = {ActivateIn: {"id"}, AttentionIn: {"video_id"}}
NUMBERS = {
    int: (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64),
    float: (FieldDescriptor.TYPE_DOUBLE,),
    str: (FieldDescriptor.TYPE_STRING,),
    bool: (FieldDescriptor.TYPE_BOOL,),
    bytes: (FieldDescriptor.TYPE_BYTES,),
}


def schemas_of_the_contract() -> set[type[BaseModel]]:
    names = [module.name for module in pkgutil.iter_modules(schemas.__path__)]
    modules = [import_module(f"{schemas.__name__}.{name}") for name in names]
    return {
        kind
        for module in modules
        for _, kind in inspect.getmembers(module, inspect.isclass)
        if issubclass(kind, BaseModel) and kind.__module__ == module.__name__
    }


def test_every_schema_has_a_message_and_the_other_way_round() -> None:
    assert schemas_of_the_contract() - HTTP_ONLY == set(TWINS)
    messages = set(pb.DESCRIPTOR.message_types_by_name)
    assert messages - GRPC_ONLY == {kind.DESCRIPTOR.name for kind in TWINS.values()}


@pytest.mark.parametrize("schema", TWINS, ids=lambda schema: schema.__name__)
def test_fields_agree(schema: type[BaseModel]) -> None:
    message: Descriptor = TWINS[schema].DESCRIPTOR
    fields = {field.name for field in message.fields} - IN_PATH.get(schema, set())
    assert set(schema.model_fields) == fields, (
        f"{schema.__name__} and {message.name} have different fields: change "
        f"src/qasir/proto/v1/retrieval.proto, then run `make proto`"
    )
    for name, known in schema.model_fields.items():
        if (schema, name) == (EmbedOut, "vectors"):
            continue
        said = f"{schema.__name__}.{name} is {known.annotation}, which {message.name} cannot hold"
        field = message.fields_by_name[name]
        assert holds(field, known.annotation), said
        # A request may leave out whatever has a default; so leaving out must show.
        if not known.is_required() and not field.is_repeated:
            assert field.has_presence, f"{said}: make it optional"


def holds(field: FieldDescriptor, kind: Any) -> bool:
    """Whether every value of a Python type fits the field."""
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType) and NoneType in inner:
        (rest,) = (each for each in inner if each is not NoneType)
        return field.has_presence and holds(field, rest)
    if origin is list:
        return field.is_repeated and of_type(field, inner[0])
    if origin is dict and inner[1] is not Any:
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
    return kind in TWINS and field.message_type is TWINS[kind].DESCRIPTOR
