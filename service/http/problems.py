"""Every error as problem+json (RFC 9457) with a stable `code`, and its status over HTTP and gRPC.

The error's own `code` is also the label of metrics.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.routing import Match

from qasir import errors
from qasir.contract.base import FieldError, Problem
from qasir.errors import InvalidInput, QasirError
from service.observability.tracing import trace_id

PROBLEM_TYPE = "application/problem+json"


@dataclass(frozen=True)
class Status:
    """The status of one kind of error; `grpc` names a StatusCode, `retry_after` is in seconds."""

    http: HTTPStatus
    grpc: str
    retry_after: int | None = None


# A class that is not listed has the status of its nearest ancestor.
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
# Errors of the HTTP request itself, for which `qasir.errors` has no class.
HTTP_CODES = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.BAD_REQUEST: "invalid_input",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
# Parts of an HTTP request; a field has the same name in all of them, and over gRPC.
PLACES = ("body", "query", "path", "header")
# Keeps the answer short for a request with thousands of wrong values.
MAX_FAULTS = 10
# The key of the ASGI scope with a request's error code, for the metrics.
CODE_KEY = "qasir_code"

log = structlog.get_logger()


def status_of(kind: type[QasirError]) -> Status:
    """Return the status of an error class."""
    return next(STATUSES[ancestor] for ancestor in kind.__mro__ if ancestor in STATUSES)


def field_errors(faults: Sequence[Mapping[str, Any] | ErrorDetails]) -> list[FieldError]:
    """List pydantic's errors, each with the field and the part of the request it is in."""
    return [
        FieldError(field=".".join(str(part) for part in fault["loc"]), message=fault["msg"])
        for fault in faults[:MAX_FAULTS]
    ]


def refusal(faults: Sequence[FieldError]) -> InvalidInput:
    """Make the error that names the wrong fields, in the same words over every transport."""
    fields = "; ".join(f"{_name(fault.field)}: {fault.message}" for fault in faults)
    return InvalidInput(f"{fields}; /docs.json and retrieval.proto describe the request")


def problem_response(error: QasirError, fields: Sequence[FieldError] = ()) -> JSONResponse:
    """Make the response that describes an error."""
    status = status_of(type(error))
    headers = {"Retry-After": str(status.retry_after)} if status.retry_after else {}
    return _response(status.http, error.code, str(error), error.retryable, fields, headers)


def unexpected() -> QasirError:
    """Make the error that a caller gets for a bug: it says only where to look."""
    return QasirError("unexpected failure; the service's log has the details")


def install(app: FastAPI) -> None:
    """Make an app answer every error as a problem."""
    app.add_exception_handler(QasirError, _on_error)
    app.add_exception_handler(RequestValidationError, _on_validation)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(Exception, _on_bug)


async def _on_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, QasirError)
    request.scope[CODE_KEY] = error.code
    return problem_response(error)


async def _on_validation(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    request.scope[CODE_KEY] = InvalidInput.code
    fields, content_type = field_errors(error.errors()), request.headers.get("content-type", "")
    if "json" not in content_type and any(fault.field == "body" for fault in fields):
        # curl -d sends a form unless a header says otherwise.
        detail = (
            f"content type '{content_type[:80]}': send JSON, -H 'Content-Type: application/json'"
        )
        return problem_response(InvalidInput(detail), fields)
    return problem_response(refusal(fields), fields)


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    status = HTTPStatus(error.status_code)
    code = HTTP_CODES.get(status, "invalid_input")
    request.scope[CODE_KEY] = code
    detail = f"{request.method} {request.url.path[:200]}: {status.phrase.lower()}; see /docs.json"
    headers = dict(error.headers or {})
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = _allowed(request)
    return _response(status, code, detail, False, (), headers)


def _allowed(request: Request) -> str:
    """Name the methods of a path: Starlette names those of its first route alone."""
    scopes = ({**request.scope, "method": method} for method in METHODS)
    return ", ".join(
        scope["method"]
        for scope in scopes
        if any(route.matches(scope)[0] is Match.FULL for route in request.app.routes)
    )


def _name(field: str) -> str:
    place, _, name = field.partition(".")
    return name if name and place in PLACES else field


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    request.scope[CODE_KEY] = QasirError.code
    log.error("bug", path=request.url.path, exc_info=error)
    return problem_response(unexpected())


def _response(
    status: HTTPStatus,
    code: str,
    detail: str,
    retryable: bool,
    fields: Sequence[FieldError],
    headers: Mapping[str, str],
) -> JSONResponse:
    problem = Problem(
        type=f"urn:qasir:error:{code}",
        title=status.phrase,
        status=status,
        code=code,
        detail=detail,
        retryable=retryable,
        errors=list(fields),
        trace_id=trace_id(),
    )
    body = problem.model_dump(mode="json", exclude_none=True)
    return JSONResponse(body, status, dict(headers), PROBLEM_TYPE)
