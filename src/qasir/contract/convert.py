"""The conversion between contract types and protobuf messages, for every type alike.

Fields have the same names on both sides, but for times (`RENAMED`). A message whose only field is
a repeated `values` stands for an inner list, which protobuf lacks. Protobuf's own JSON form is not
used: it writes 64-bit integers as strings and shortens floats. A Struct holds doubles only, so a
whole number in it becomes an int again.
"""

from collections.abc import Collection, Mapping
from datetime import UTC
from typing import Any, TypeVar, cast

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp
from pydantic import BaseModel
from pydantic_core import to_jsonable_python

# Contract name -> protobuf name, by the convention of either side.
RENAMED = {"created_at": "create_time", "started_at": "start_time", "finished_at": "finish_time"}
CONTRACT_NAMES = {message_name: name for name, message_name in RENAMED.items()}
VALUES = "values"

M = TypeVar("M", bound=Message)
T = TypeVar("T", bound=BaseModel)
Contract = BaseModel | Mapping[str, BaseModel]


def to_message(kind: type[M], value: Contract, **path: str | int) -> M:
    """Convert a contract type, or contract types by field name, to a message.

    A field that is None or was never set stays unset. `path` are fields that HTTP has in the path.

    >>> from qasir.contract.jobs import JobError
    >>> from qasir.v1 import retrieval_pb2 as pb
    >>> error = JobError(code="no_frames", detail="empty", retryable=False)
    >>> to_message(pb.Job, {"error": error}, id="j0").error.code
    'no_frames'

    Raises:
        ValueError: a number is out of the range of its field.
    """
    return kind(**_fields(_descriptor(kind), _dump(value)), **path)


def from_message(kind: type[T], message: Message, without: Collection[str] = ()) -> T:
    """Convert a message to a contract type, less the fields that HTTP has in the path.

    >>> from qasir.contract.models import ActivateModelRequest
    >>> from qasir.v1 import retrieval_pb2 as pb
    >>> request = pb.ActivateModelRequest(version=2, max_missing=1)
    >>> from_message(ActivateModelRequest, request, without=["version"])
    ActivateModelRequest(max_missing=1, reranker=None)

    Raises:
        pydantic.ValidationError: the message breaks a rule of the contract.
    """
    fields = _plain(message).items()
    return kind.model_validate({name: value for name, value in fields if name not in without})


def _dump(value: Contract) -> dict[str, Any]:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True, exclude_unset=True, exclude_none=True)
    return {name: _dump(each) for name, each in value.items()}


def _fields(kind: Descriptor, data: Mapping[str, Any]) -> dict[str, Any]:
    named = {RENAMED.get(name, name): value for name, value in data.items()}
    return {name: _to_field(kind.fields_by_name[name], value) for name, value in named.items()}


def _to_field(field: FieldDescriptor, value: Any) -> Any:
    kind = field.message_type
    if kind is None or kind.GetOptions().map_entry or kind is Timestamp.DESCRIPTOR:
        return value
    if kind is Struct.DESCRIPTOR:
        return to_jsonable_python(value)
    if not field.is_repeated:
        return _fields(kind, value)
    return [{VALUES: item} if _is_list(kind) else _fields(kind, item) for item in value]


def _plain(message: Message) -> dict[str, Any]:
    return {
        CONTRACT_NAMES.get(field.name, field.name): _from_field(field, getattr(message, field.name))
        for field in _descriptor(message).fields
        if not field.has_presence or message.HasField(field.name)
    }


def _from_field(field: FieldDescriptor, value: Any) -> Any:
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_from_item(item) for item in value]
    return _from_item(value)


def _from_item(item: Message) -> Any:
    if isinstance(item, Timestamp):
        return item.ToDatetime(UTC)
    if isinstance(item, Struct):
        return {name: _from_value(value) for name, value in item.fields.items()}
    fields = _plain(item)
    return fields[VALUES] if _is_list(_descriptor(item)) else fields


def _descriptor(message: Message | type[Message]) -> Descriptor:
    # The stubs also allow the class of the C implementation, which has the same interface.
    return cast("Descriptor", message.DESCRIPTOR)


def _is_list(kind: Descriptor) -> bool:
    return [field.name for field in kind.fields] == [VALUES]


def _from_value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "list_value":
        return [_from_value(each) for each in value.list_value.values]
    if kind == "struct_value":
        return _from_item(value.struct_value)
    return None if kind in (None, "null_value") else getattr(value, kind)
