"""Traces by OpenTelemetry: where one request or job spends its time. Off, unless
`QASIR_TRACE_ENDPOINT` says where they go.

 POST /v1/search -> tokenise, encode -> triton text_encoder     HTTP, gRPC: requests.py
                 -> recall, score -> triton attention_scorer    stages: telemetry.py
 POST /v1/videos -> job -> encode -> triton encode_video        the worker goes on with the trace

BentoML has spans of its own, which nobody collects unless BentoML is told to. These have a
provider of their own, so neither counts twice; a context is taken from a caller's headers
and given to Triton in the call's, as W3C says.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit, urlunsplit

from qasir import __version__
from qasir.errors import InvalidConfig

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanKind, Tracer

CONSOLE = "console"
TRACES_PATH = "/v1/traces"
# How long a collector has to take a batch; spans it does not take are dropped.
SEND_SECONDS = 2.0
# The one header of the W3C that says which trace goes on.
TRACEPARENT = "traceparent"

Value = str | int | float | bool


class _Off:
    """Spans that are none."""

    def tell(self, name: str | None = None, **attributes: Value) -> None:
        """Nobody listens."""

    def fail(self) -> None:
        """Nobody listens."""


class Traced:
    """A span under way."""

    def __init__(self, span: "Span") -> None:
        self._span = span

    def tell(self, name: str | None = None, **attributes: Value) -> None:
        """What is known by now: what it is called, and about it."""
        if name is not None:
            self._span.update_name(name)
        self._span.set_attributes({f"qasir.{key}": value for key, value in attributes.items()})

    def fail(self) -> None:
        """Mark it as failed."""
        from opentelemetry.trace import StatusCode

        self._span.set_status(StatusCode.ERROR)


AnySpan = Traced | _Off
_OFF: AbstractContextManager[AnySpan] = nullcontext(_Off())


class _Tracing:
    """Tracing of one process, once it is on."""

    def __init__(self, provider: "TracerProvider") -> None:
        self.provider = provider
        self.tracer: Tracer = provider.get_tracer("qasir", __version__)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Value]) -> Iterator[Traced]:
        told = {f"qasir.{key}": value for key, value in attributes.items()}
        with self.tracer.start_as_current_span(name, attributes=told) as span:
            yield Traced(span)

    @contextmanager
    def root(self, name: str, kind: "SpanKind", headers: Mapping[str, str]) -> Iterator[Traced]:
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # From nothing but the headers: around us is what BentoML takes for the parent.
        parent = TraceContextTextMapPropagator().extract(dict(headers), Context())
        with self.tracer.start_as_current_span(name, parent, kind) as span:
            yield Traced(span)

    @contextmanager
    def call(self, name: str) -> Iterator[dict[str, str]]:
        from opentelemetry.trace import SpanKind

        with self.tracer.start_as_current_span(name, kind=SpanKind.CLIENT):
            yield _headers()


_tracing: _Tracing | None = None


def configure_tracing(endpoint: str | None, process: str) -> None:
    """Send this process's spans to an OTLP/HTTP endpoint or, for `console`, to standard error."""
    global _tracing
    if endpoint is None:
        return
    exporter = _exporter(endpoint)
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"qasir-{process}", "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracing = _Tracing(provider)


def close_tracing() -> None:
    """Send what is left, and be off; a collector that is away or hangs holds no process up."""
    global _tracing
    if _tracing is not None:
        sending = threading.Thread(target=_tracing.provider.shutdown, daemon=True)
        _tracing = None
        sending.start()
        sending.join(SEND_SECONDS)


def span(name: str, **attributes: Value) -> AbstractContextManager[AnySpan]:
    """A part of whatever is under way."""
    return _OFF if _tracing is None else _tracing.span(name, attributes)


def past_span(name: str, began: float, **attributes: Value) -> None:
    """A part of what is under way that began then, in seconds since 1970, and ends now."""
    if _tracing is not None:
        told = {f"qasir.{key}": value for key, value in attributes.items()}
        start = int(began * 1e9)
        _tracing.tracer.start_span(name, attributes=told, start_time=start).end()


def request_span(headers: Mapping[str, str]) -> AbstractContextManager[AnySpan]:
    """A request, in its caller's trace if the headers name one."""
    if _tracing is None:
        return _OFF
    from opentelemetry.trace import SpanKind

    return _tracing.root("request", SpanKind.SERVER, headers)


def job_span(name: str, traceparent: str | None) -> AbstractContextManager[AnySpan]:
    """A job, in the trace of the request that made it."""
    if _tracing is None:
        return _OFF
    from opentelemetry.trace import SpanKind

    headers = {} if traceparent is None else {TRACEPARENT: traceparent}
    return _tracing.root(name, SpanKind.CONSUMER, headers)


def triton_call(model: str) -> AbstractContextManager[Mapping[str, str]]:
    """A call of Triton: the headers that tell it which trace it belongs to."""
    return nullcontext({}) if _tracing is None else _tracing.call(f"triton {model}")


def traceparent() -> str | None:
    """What a job is told, so that its worker goes on with the trace; None where there is none."""
    return None if _tracing is None else _headers().get(TRACEPARENT)


def trace_id() -> str | None:
    """The trace under way as 32 hex digits; None where there is none."""
    if _tracing is None:
        return None
    from opentelemetry.trace import format_trace_id, get_current_span

    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


def traces_url(endpoint: str) -> str:
    """Where spans are posted; a bare endpoint gets OTLP's own path.

    >>> traces_url("http://127.0.0.1:4318")
    'http://127.0.0.1:4318/v1/traces'
    >>> traces_url("https://collector.example/custom")
    'https://collector.example/custom'

    Raises:
        InvalidConfig: it is no URL.
    """
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.hostname:
        raise InvalidConfig(
            f"QASIR_TRACE_ENDPOINT={endpoint!r}: give the URL of an OTLP/HTTP endpoint, such as "
            f"http://127.0.0.1:4318, or '{CONSOLE}'"
        )
    return urlunsplit(url) if url.path.strip("/") else urlunsplit(url._replace(path=TRACES_PATH))


def _exporter(endpoint: str) -> "SpanExporter":
    if endpoint == CONSOLE:
        import sys

        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(
            out=sys.stderr, formatter=lambda span: f"{span.to_json(indent=None)}\n"
        )
    url = traces_url(endpoint)
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=url, timeout=SEND_SECONDS)


def _headers() -> dict[str, str]:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers
