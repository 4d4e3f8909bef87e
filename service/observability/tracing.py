"""Traces by OpenTelemetry: where one request or job spends its time. Off, unless
`OTEL_EXPORTER_OTLP_ENDPOINT` names a collector, or `OTEL_TRACES_EXPORTER` is `console`.

 POST /v1/search -> tokenise, encode -> triton text_encoder     requests, stages:
                 -> recall, score -> triton attention_scorer    telemetry.py
 POST /v1/videos -> job -> encode -> triton encode_video        the worker goes on with the trace

Attributes are `qasir.*`, and OpenTelemetry's semantic conventions `http.*` and `rpc.*` beside them.
BentoML has spans of its own, which nothing collects unless BentoML is configured to. Ours have a
provider of their own, so none counts twice. The context comes from the caller's headers and goes on
to Triton in the headers of the call, as W3C specifies.
"""

import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from opentelemetry.context import Context
from opentelemetry.trace import (
    NoOpTracer,
    Span,
    SpanKind,
    Tracer,
    format_trace_id,
    get_current_span,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from qasir import __version__
from service.settings import TraceSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter

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

_propagator = TraceContextTextMapPropagator()
_tracer: Tracer = NoOpTracer()
# None while tracing is off: the current span may then be one of BentoML's.
_provider: "TracerProvider | None" = None


def configure_tracing(settings: TraceSettings, process: str) -> None:
    """Send the spans of this process to the collector or to standard error, as the settings say."""
    global _tracer, _provider
    if (exporter := _exporter(settings)) is None:
        return
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create({"service.name": f"qasir-{process}", "service.version": __version__})
    _provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("qasir", __version__)


def close_tracing() -> None:
    """Send what is left and turn tracing off; a collector that hangs does not delay the process."""
    global _tracer, _provider
    if _provider is not None:
        sending = threading.Thread(target=_provider.shutdown, daemon=True)
        _tracer, _provider = NoOpTracer(), None
        sending.start()
        sending.join(SEND_SECONDS)


def span(name: str) -> AbstractContextManager[Span]:
    """Open a span inside the current one."""
    return _tracer.start_as_current_span(name)


def past_span(name: str, began: float, **attributes: Value) -> None:
    """Record a span that began then, in seconds since 1970, and ends now."""
    start = int(began * 1e9)
    _tracer.start_span(name, attributes=qasir_attributes(**attributes), start_time=start).end()


def request_span(headers: Mapping[str, str]) -> AbstractContextManager[Span]:
    """Open the span of a request, in its caller's trace if the headers name one."""
    return _root_span("request", SpanKind.SERVER, headers)


def job_span(name: str, traceparent: str | None) -> AbstractContextManager[Span]:
    """Open the span of a job, in the trace of the request that made it."""
    headers = {} if traceparent is None else {TRACEPARENT: traceparent}
    return _root_span(name, SpanKind.CONSUMER, headers)


@contextmanager
def triton_call(model: str) -> Iterator[Mapping[str, str]]:
    """Open the span of a call of Triton; yields the headers that name the trace to it."""
    with _tracer.start_as_current_span(
        f"triton {model}", kind=SpanKind.CLIENT, attributes=TRITON_CALL
    ):
        yield _headers()


def traceparent() -> str | None:
    """Return the header by which a worker continues the trace; None where there is none."""
    return _headers().get(TRACEPARENT)


def trace_id() -> str | None:
    """Return the current trace as 32 hex digits; None where there is none."""
    context = get_current_span().get_span_context()
    return format_trace_id(context.trace_id) if _provider and context.is_valid else None


def qasir_attributes(**attributes: Value) -> dict[str, Value]:
    """Name attributes of a span `qasir.*`."""
    return {f"qasir.{name}": value for name, value in attributes.items()}


def _root_span(
    name: str, kind: SpanKind, headers: Mapping[str, str]
) -> AbstractContextManager[Span]:
    # From nothing but the headers: the current context has BentoML's span as the parent.
    parent = _propagator.extract(dict(headers), Context())
    return _tracer.start_as_current_span(name, parent, kind)


def _headers() -> dict[str, str]:
    headers: dict[str, str] = {}
    if _provider is not None:
        _propagator.inject(headers)
    return headers


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
