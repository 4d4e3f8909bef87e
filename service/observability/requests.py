"""One request, by whichever transport it came: its id, its span, its count, its line in the log.

Neither holds what a user wrote, sent or called a file; `docs/observability.md` says what they do.
"""

import re
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import structlog

from qasir.errors import QasirError
from service.observability import metrics
from service.observability.metric_types import OTHER
from service.observability.telemetry import Telemetry
from service.observability.tracing import request_span

REQUEST_ID = "x-request-id"
# What a proxy may send: an id, and nothing that could forge a line of a log.
SENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Transport = Literal["http", "grpc", "bentoml"]

log = structlog.get_logger()


@dataclass
class RequestContext:
    """What a transport finds out about a request; `status` is HTTP's, None elsewhere."""

    request_id: str
    operation: str = OTHER
    code: str = "ok"
    status: int | None = None


@contextmanager
def request_context(
    telemetry: Telemetry, transport: Transport, headers: Mapping[str, str]
) -> Iterator[RequestContext]:
    """Around a request, its headers' names in lower case."""
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
            told: dict[str, str | int] = {"transport": transport, "code": request.code}
            if request.status is not None:
                told["status"] = request.status
            span.tell(request.operation, **told)
            if request.code == QasirError.code:
                span.fail()
            milliseconds = round((time.perf_counter() - begin) * 1000, 2)
            log.info("request", operation=request.operation, **told, milliseconds=milliseconds)
