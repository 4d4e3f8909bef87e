"""The connection of the gRPC client: what is sent again, and which error a failed call is."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from qasir.errors import (
    MissingExtra,
    ModelUnavailable,
    Overloaded,
    QasirError,
    error_from_code,
)

try:
    import google.protobuf  # noqa: F401  # what the messages need
    import grpc
except ModuleNotFoundError as missing:
    raise MissingExtra(
        "qasir.GrpcClient needs the package grpcio; run: pip install 'qasir[grpc]'"
    ) from missing

# A page of videos with all the metadata they may have is more than gRPC's own 4 MB.
MAX_ANSWER_BYTES = 64 << 20
# What may be sent twice; gRPC does so itself, and waits as long as the service tells it to.
IDEMPOTENT = (
    *("ListVideos", "GetVideo", "ListJobs", "GetJob", "WatchJob", "CancelJob"),
    *("Search", "GetAttention", "Embed", "ListGenerations", "ActivateGeneration"),
)
RETRIES = {
    "methodConfig": [
        {
            "name": [{"service": "qasir.v1.Retrieval", "method": name} for name in IDEMPOTENT],
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


def open_channel(target: str) -> grpc.Channel:
    """A channel that sends again what may be sent again; it connects when it is first used."""
    options = [
        ("grpc.service_config", json.dumps(RETRIES)),
        ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ]
    return grpc.insecure_channel(target, options)


@contextmanager
def errors_of(target: str) -> Iterator[None]:
    """Turn a failed call into the error that the service told of, or that its status says."""
    try:
        yield
    except grpc.RpcError as error:
        raise _error(error, target) from error


def _error(error: Any, target: str) -> QasirError:
    told = {each.key: each.value for each in error.trailing_metadata() or ()}
    status, detail = error.code(), error.details() or ""
    if "qasir-code" in told:
        return error_from_code(told["qasir-code"], detail)
    if status is grpc.StatusCode.UNAVAILABLE:
        return ModelUnavailable(
            f"no answer from a qasir service at {target} ({detail}); start one with "
            f"`qasir up`, or name another"
        )
    if status is grpc.StatusCode.RESOURCE_EXHAUSTED and "limit exceeded" in detail:
        return Overloaded(f"{target}: {detail}; try again later")
    if status is grpc.StatusCode.DEADLINE_EXCEEDED:
        return ModelUnavailable(f"no answer from {target} in time; try again later")
    return QasirError(f"{target} answered {status.name}: {detail[:200]}")
