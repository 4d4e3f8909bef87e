"""Messages as plain Python values, exact where protobuf's own JSON form is not.

JSON writes 64-bit integers as strings and shortens floats; here both stay numbers. A Struct
has doubles only, so a whole number in it comes back as the int it most likely was.
"""

from datetime import UTC
from typing import Any

from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp


def plain(message: Message, *, whole: bool = False) -> dict[str, Any]:
    """The fields of a message by name; one that is not set is left out, or None if `whole`.

    >>> from qasir.proto.v1.retrieval_pb2 import GetJobRequest, ListJobsRequest
    >>> plain(ListJobsRequest(limit=0)), plain(GetJobRequest(), whole=True)
    ({'limit': 0}, {'job_id': ''})
    """
    known = {field.name: field for field in message.DESCRIPTOR.fields}
    present = {
        name: _field(field, getattr(message, name), whole)
        for name, field in known.items()
        if not field.has_presence or message.HasField(name)
    }
    return {**dict.fromkeys(known), **present} if whole else present


def _field(field: Any, value: Any, whole: bool) -> Any:
    if field.message_type is None:
        return list(value) if field.is_repeated else value
    if field.message_type.GetOptions().map_entry:
        return dict(value)
    if field.is_repeated:
        return [_message(each, whole) for each in value]
    return _message(value, whole)


def _message(value: Message, whole: bool) -> Any:
    if isinstance(value, Timestamp):
        return value.ToDatetime(UTC)
    if isinstance(value, Struct):
        return {key: _value(each) for key, each in value.fields.items()}
    return plain(value, whole=whole)


def _value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() else number
    if kind == "list_value":
        return [_value(each) for each in value.list_value.values]
    if kind == "struct_value":
        return _message(value.struct_value, whole=False)
    return None if kind in (None, "null_value") else getattr(value, kind)
