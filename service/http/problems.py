"""Every error as problem+json (RFC 9457) with a stable `code`."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match
from starlette.types import Scope

from qasir.contract.problems import FieldError, Problem
from qasir.errors import InvalidInput, QasirError
from service.http.openapi import PROBLEM_TYPE
from service.http.status import status_of
from service.http.validation_errors import field_errors, refusal
from service.observability.tracing import trace_id

# Errors of the HTTP request itself, for which `qasir.errors` has no class.
HTTP_CODES = {
    HTTPStatus.NOT_FOUND: "not_found",
    HTTPStatus.METHOD_NOT_ALLOWED: "method_not_allowed",
    HTTPStatus.BAD_REQUEST: "invalid_input",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "request_too_large",
    HTTPStatus.REQUEST_TIMEOUT: "request_timeout",
}
METHODS = ("GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE")
# The key of the ASGI scope that holds a request's error code for the metrics.
CODE_KEY = "qasir_code"

log = structlog.get_logger()


def problem_response(error: QasirError, fields: Sequence[FieldError] = ()) -> JSONResponse:
    """Make the response that describes an error."""
    status = status_of(type(error))
    headers = {"Retry-After": str(status.retry_after)} if status.retry_after else {}
    return _response(status.http, error.code, str(error), error.retryable, fields, headers)


def unexpected() -> QasirError:
    """Return what a caller is told of a bug: no more than where to look."""
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
    return ", ".join(scope["method"] for scope in scopes if _is_served(request.app, scope))


def _is_served(app: FastAPI, scope: Scope) -> bool:
    return any(route.matches(scope)[0] is Match.FULL for route in app.routes)


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
