"""The one table from errors to the status codes of HTTP and gRPC.

`grpc` is the name of a `grpc.StatusCode`; the error's own `code` is the metric label. A class that
is not listed has the status of its nearest ancestor.
"""

from dataclasses import dataclass
from http import HTTPStatus

from qasir import errors
from qasir.errors import QasirError


@dataclass(frozen=True)
class Status:
    """The status of one kind of error; `retry_after` in seconds."""

    http: HTTPStatus
    grpc: str
    retry_after: int | None = None


STATUSES: dict[type[QasirError], Status] = {
    errors.InvalidInput: Status(HTTPStatus.UNPROCESSABLE_ENTITY, "INVALID_ARGUMENT"),
    errors.UnsupportedMedia: Status(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "INVALID_ARGUMENT"),
    errors.UnsupportedProtocol: Status(HTTPStatus.PRECONDITION_FAILED, "INVALID_ARGUMENT"),
    errors.UploadTooLarge: Status(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "RESOURCE_EXHAUSTED"),
    errors.RequestStalled: Status(HTTPStatus.REQUEST_TIMEOUT, "DEADLINE_EXCEEDED"),
    errors.NotFound: Status(HTTPStatus.NOT_FOUND, "NOT_FOUND"),
    errors.Conflict: Status(HTTPStatus.CONFLICT, "FAILED_PRECONDITION"),
    errors.FingerprintMismatch: Status(HTTPStatus.CONFLICT, "FAILED_PRECONDITION"),
    errors.Overloaded: Status(HTTPStatus.TOO_MANY_REQUESTS, "RESOURCE_EXHAUSTED", 1),
    errors.ModelUnavailable: Status(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", 2),
    errors.WorkerUnavailable: Status(HTTPStatus.SERVICE_UNAVAILABLE, "UNAVAILABLE", 2),
    errors.StorageFull: Status(HTTPStatus.INSUFFICIENT_STORAGE, "RESOURCE_EXHAUSTED", 60),
    QasirError: Status(HTTPStatus.INTERNAL_SERVER_ERROR, "INTERNAL"),
}


def status_of(kind: type[QasirError]) -> Status:
    """Return the status of an error class."""
    return next(STATUSES[ancestor] for ancestor in kind.__mro__ if ancestor in STATUSES)
