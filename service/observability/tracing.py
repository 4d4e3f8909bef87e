"""Traces by OpenTelemetry: where one request or job spends its time. Off, unless
`OTEL_EXPORTER_OTLP_ENDPOINT` names a collector, or `OTEL_TRACES_EXPORTER` is `console`.

 POST /v1/search -> tokenise, encode -> triton text_encoder     HTTP, gRPC: requests.py
                 -> recall, score -> triton attention_scorer    stages: telemetry.py
 POST /v1/videos -> job -> encode -> triton encode_video        the worker goes on with the trace

Attributes are `qasir.*`, and OpenTelemetry's semantic conventions `http.*` and `rpc.*` beside them.
BentoML has spans of its own, which nothing collects unless BentoML is configured to. Ours have a
provider of their own, so none counts twice. The context comes from the caller's headers and goes on
to Triton in the headers of the call, as W3C specifies.
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from qasir import __version__
from service.settings import TraceSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, SpanKind, Tracer

# The collector's time to take a batch; spans that it does not take are dropped.
SEND_SECONDS = 2.0
# W3C's header that names the trace to continue.
TRACEPARENT = "traceparent"

# Of the semantic conventions for gRPC.
TRITON_CALL = {
    "rpc.system": "grpc",
    "rpc.service": "inference.GRPCInferenceService",
    "rpc.method": "ModelInfer",
}

Value = str | int | float | bool


class _Off:
    """A span while tracing is off."""

    def set(self, name: str | None = None, **attributes: Value) -> None:
        """Do nothing."""

    def set_conventional(self, attributes: Mapping[str, Value]) -> None:
        """Do nothing."""

    def fail(self) -> None:
        """Do nothing."""


class Traced:
    """A span under way."""

    def __init__(self, span: "Span") -> None:
        self._span = span

    def set(self, name: str | None = None, **attributes: Value) -> None:
        """Set the name, and attributes `qasir.*`."""
        if name is not None:
            self._span.update_name(name)
        self._span.set_attributes(_qasir(attributes))

    def set_conventional(self, attributes: Mapping[str, Value]) -> None:
        """Set attributes whose names are OpenTelemetry's semantic conventions."""
        self._span.set_attributes(dict(attributes))

    def fail(self) -> None:
        """Mark it as failed."""
        from opentelemetry.trace import StatusCode

        self._span.set_status(StatusCode.ERROR)


AnySpan = Traced | _Off
_OFF: AbstractContextManager[AnySpan] = nullcontext(_Off())


class _Tracing:
    """Tracing of one process."""

    def __init__(self, provider: "TracerProvider") -> None:
        self.provider = provider
        self.tracer: Tracer = provider.get_tracer("qasir", __version__)

    @contextmanager
    def span(self, name: str, attributes: Mapping[str, Value]) -> Iterator[Traced]:
        with self.tracer.start_as_current_span(name, attributes=_qasir(attributes)) as span:
            yield Traced(span)

    @contextmanager
    def root(self, name: str, kind: "SpanKind", headers: Mapping[str, str]) -> Iterator[Traced]:
        from opentelemetry.context import Context
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # From nothing but the headers: the current context has BentoML's span as the parent.
        parent = TraceContextTextMapPropagator().extract(dict(headers), Context())
        with self.tracer.start_as_current_span(name, parent, kind) as span:
            yield Traced(span)

    @contextmanager
    def call(self, name: str) -> Iterator[dict[str, str]]:
        from opentelemetry.trace import SpanKind

        with self.tracer.start_as_current_span(name, kind=SpanKind.CLIENT, attributes=TRITON_CALL):
            yield _headers()


_tracing: _Tracing | None = None


def configure_tracing(settings: TraceSettings, process: str) -> None:
    """Send the spans of this process to the collector or to standard error, as the settings say."""
    global _tracing
    if (exporter := _exporter(settings)) is None:
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"qasir-{process}", "service.version": __version__})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracing = _Tracing(provider)


def close_tracing() -> None:
    """Send what is left and turn tracing off; a collector that hangs does not delay the process."""
    global _tracing
    if _tracing is not None:
        sending = threading.Thread(target=_tracing.provider.shutdown, daemon=True)
        _tracing = None
        sending.start()
        sending.join(SEND_SECONDS)


def span(name: str, **attributes: Value) -> AbstractContextManager[AnySpan]:
    """Open a span inside the current one."""
    return _OFF if _tracing is None else _tracing.span(name, attributes)


def past_span(name: str, began: float, **attributes: Value) -> None:
    """Record a span that began then, in seconds since 1970, and ends now."""
    if _tracing is not None:
        start = int(began * 1e9)
        _tracing.tracer.start_span(name, attributes=_qasir(attributes), start_time=start).end()


def request_span(headers: Mapping[str, str]) -> AbstractContextManager[AnySpan]:
    """Open the span of a request, in its caller's trace if the headers name one."""
    if _tracing is None:
        return _OFF
    from opentelemetry.trace import SpanKind

    return _tracing.root("request", SpanKind.SERVER, headers)


def job_span(name: str, traceparent: str | None) -> AbstractContextManager[AnySpan]:
    """Open the span of a job, in the trace of the request that made it."""
    if _tracing is None:
        return _OFF
    from opentelemetry.trace import SpanKind

    headers = {} if traceparent is None else {TRACEPARENT: traceparent}
    return _tracing.root(name, SpanKind.CONSUMER, headers)


def triton_call(model: str) -> AbstractContextManager[Mapping[str, str]]:
    """Open the span of a call of Triton; yields the headers that name the trace to it."""
    return nullcontext({}) if _tracing is None else _tracing.call(f"triton {model}")


def traceparent() -> str | None:
    """The header with which the worker of a job continues the trace; None where there is none."""
    return None if _tracing is None else _headers().get(TRACEPARENT)


def trace_id() -> str | None:
    """The current trace as 32 hex digits; None where there is none."""
    if _tracing is None:
        return None
    from opentelemetry.trace import format_trace_id, get_current_span

    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else None


def _exporter(settings: TraceSettings) -> "SpanExporter | None":
    if settings.traces_exporter == "console":
        from opentelemetry.sdk.trace.export import ConsoleSpanExporter

        return ConsoleSpanExporter(
            out=sys.stderr, formatter=lambda span: f"{span.to_json(indent=None)}\n"
        )
    if settings.traces_url is None:
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

    return OTLPSpanExporter(endpoint=settings.traces_url, timeout=SEND_SECONDS)


def _headers() -> dict[str, str]:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    headers: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(headers)
    return headers


def _qasir(attributes: Mapping[str, Value]) -> dict[str, Value]:
    return {f"qasir.{name}": value for name, value in attributes.items()}
