"""One request over any transport: its id, its span, its count, its line in the log.

None of them holds what a user wrote, sent or named; `docs/observability.md` lists what they hold.
"""

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import structlog
from opentelemetry.trace import StatusCode

from qasir.errors import QasirError
from service.observability import metrics
from service.observability.telemetry import Telemetry
from service.observability.tracing import Value, qasir_attributes, request_span

REQUEST_ID = "x-request-id"
# What a caller may send as an id: nothing that could forge a line of the log.
SENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Transport = Literal["http", "grpc", "bentoml"]

log = structlog.get_logger()


@dataclass
class RequestContext:
    """What a transport sets while it serves a request.

    status: of HTTP, None elsewhere; conventions: `http.*` and `rpc.*` attributes of the span.
    """

    request_id: str
    operation: str = metrics.OTHER
    code: str = "ok"
    status: int | None = None
    conventions: dict[str, Value] = field(default_factory=dict)


@contextmanager
def request_context(
    telemetry: Telemetry, transport: Transport, headers: Mapping[str, str]
) -> Iterator[RequestContext]:
    """Count, trace and log one request; the names of its headers are in lower case."""
    sent = headers.get(REQUEST_ID, "")
    request = RequestContext(sent if SENT_ID.fullmatch(sent) else uuid.uuid4().hex)
    begin = time.perf_counter()
    with (
        structlog.contextvars.bound_contextvars(request_id=request.request_id),
        request_span(headers) as span,
    ):
        try:
            yield request
        finally:
            telemetry.count(metrics.REQUESTS, operation=request.operation, code=request.code)
            facts: dict[str, str | int] = {"transport": transport, "code": request.code}
            if request.status is not None:
                facts["status"] = request.status
                request.conventions["http.response.status_code"] = request.status
            if request.code != "ok":
                request.conventions["error.type"] = request.code
            span.update_name(request.operation)
            span.set_attributes({**qasir_attributes(**facts), **request.conventions})
            if request.code == QasirError.code:
                span.set_status(StatusCode.ERROR)
            milliseconds = round((time.perf_counter() - begin) * 1000, 2)
            log.info("request", operation=request.operation, **facts, milliseconds=milliseconds)
