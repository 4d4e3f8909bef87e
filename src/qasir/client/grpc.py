"""The gRPC transport."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from qasir.client.operations import OPERATIONS, OnBytes, Operation, unreachable, unreadable
from qasir.contract.base import Answer, Request
from qasir.contract.jobs import Job
from qasir.contract.videos import Upload, UploadHeader
from qasir.errors import (
    InvalidInput,
    MissingExtra,
    ModelUnavailable,
    Overloaded,
    QasirError,
    error_from_code,
)

try:
    import grpc
    from google.protobuf.message import Message
    from google.protobuf.message_factory import GetMessageClass
except ModuleNotFoundError as missing:
    raise MissingExtra(
        "a grpc:// URL needs the package grpcio; run: pip install 'qasir[grpc]'"
    ) from missing

from qasir.contract.convert import from_message, to_message
from qasir.v1 import retrieval_pb2 as pb
from qasir.v1.retrieval_pb2_grpc import RetrievalServiceStub

SERVICE = pb.DESCRIPTOR.services_by_name["RetrievalService"]
CHUNK_BYTES = 1 << 20
# A page of videos with all the metadata they may have is more than gRPC's own 4 MB.
MAX_ANSWER_BYTES = 64 << 20
# gRPC itself retries a repeatable call, after the pause that the service asks for.
REPEATABLE = ("WatchJob", *(operation.name for operation in OPERATIONS if operation.repeatable))
RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": SERVICE.full_name, "method": name} for name in REPEATABLE],
            "retryPolicy": {
                "maxAttempts": 4,
                "initialBackoff": "0.2s",
                "maxBackoff": "2s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            },
        }
    ]
}

T = TypeVar("T", bound=Answer)


class GrpcTransport:
    """Calls a service over gRPC; connects when it is first used.

    `timeout` is the deadline of a call in seconds, retries included; the service passes it on.
    """

    def __init__(self, target: str, timeout: float) -> None:
        self.url = f"grpc://{target}"
        self._timeout = timeout
        options = [
            ("grpc.service_config", json.dumps(RETRIES)),
            ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
        ]
        self._channel = grpc.insecure_channel(target, options)
        self._stub = RetrievalServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated

    def close(self) -> None:
        self._channel.close()

    def call(self, operation: Operation[T], request: Request | None = None, **path: str | int) -> T:
        message = _message(operation.name, request, **path)
        with self._errors():
            answer = getattr(self._stub, operation.name)(message, timeout=self._timeout)
        return self._read(operation.answer, answer)

    def upload(self, path: Path, header: UploadHeader, on_bytes: OnBytes) -> Upload:
        with self._errors():
            answer = self._stub.UploadVideo(_pieces(path, header, on_bytes))
        return self._read(Upload, answer)

    def watch(self, job_id: str, seconds: float | None) -> Iterator[Job]:
        """Yield a job at each change; the stream ends after `seconds`."""
        with self._errors():
            for answer in self._stub.WatchJob(_message("WatchJob", job_id=job_id), timeout=seconds):
                yield self._read(Job, answer)

    def _read(self, kind: type[T], answer: Message) -> T:
        try:
            return from_message(kind, _content(answer))
        except ValidationError as error:
            raise unreadable(self.url, error) from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            raise _error(error, self.url) from error


def _message(name: str, request: Request | None = None, **path: str | int) -> Message:
    """Return the request message of a method.

    Raises:
        InvalidInput: a number is out of the range of its field.
    """
    kind = GetMessageClass(SERVICE.methods_by_name[name].input_type)
    try:
        return to_message(kind, request or {}, **path)
    except ValueError as error:
        raise InvalidInput(f"{error}; retrieval.proto describes {name}Request") from error


def _content(answer: Message) -> Message:
    """Return the message that a response wraps, or the response itself."""
    fields = answer.DESCRIPTOR.fields
    wraps = len(fields) == 1 and fields[0].message_type is not None and not fields[0].is_repeated
    return getattr(answer, fields[0].name) if wraps else answer


def _pieces(path: Path, header: UploadHeader, on_bytes: OnBytes) -> Iterator[pb.UploadVideoRequest]:
    yield to_message(pb.UploadVideoRequest, {"header": header})
    with path.open("rb") as file:
        while piece := file.read(CHUNK_BYTES):
            yield pb.UploadVideoRequest(chunk=piece)
            on_bytes(len(piece))


def _error(error: Any, url: str) -> QasirError:
    trailing = {each.key: each.value for each in error.trailing_metadata() or ()}
    status, detail = error.code(), error.details() or ""
    if "qasir-code" in trailing:
        return error_from_code(trailing["qasir-code"], detail)
    if status is grpc.StatusCode.UNAVAILABLE:
        return unreachable(url, detail)
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "limit exceeded" in detail:
        return Overloaded(f"{url}: {detail}; try again later")
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ModelUnavailable(f"no answer from {url} in time; try again later")
    return QasirError(f"{url} answered {status.name}: {detail[:200]}")
