"""Recording metrics and requests, and the page that Prometheus reads.

Several service processes answer on one port, so the page of each must cover all of them: counters
and histograms go to files that prometheus_client adds up (its multiprocess mode, which BentoML
switches on for its workers before they import anything); gauges are read from the state folder at
each scrape.
"""

import itertools
import os
import re
import time
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal

import structlog
from opentelemetry.trace import StatusCode
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from qasir.errors import QasirError
from service.observability.metrics import OTHER, REQUESTS, Metric
from service.observability.tracing import Value, qasir_attributes, request_span, span

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Creation times would double the series of every counter and histogram.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"

REQUEST_ID = "x-request-id"
# What a caller may send as an id: nothing that could forge a line of the log.
SENT_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

Transport = Literal["http", "grpc", "bentoml"]

log = structlog.get_logger()


@dataclass(frozen=True)
class GaugeSample:
    """The value of a gauge at a scrape."""

    metric: Metric
    value: float
    labels: dict[str, str] = field(default_factory=dict)


class Telemetry:
    """The counters and histograms of one process."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._registry = CollectorRegistry()
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        for metric in metrics:
            name, about, labels = metric.name, metric.help, list(metric.labels)
            if metric.kind == "counter":
                counter = Counter(name, about, labels, registry=self._registry)
                self._counters[name] = counter
                if metric.from_zero:
                    for values in itertools.product(*metric.labels.values()):
                        counter.labels(*values)
            elif metric.kind == "histogram":
                self._histograms[name] = Histogram(
                    name, about, labels, registry=self._registry, buckets=metric.buckets
                )

    def count(self, metric: Metric, amount: float = 1, **labels: str) -> None:
        counter = self._counters[metric.name]
        # The library refuses `labels` for a metric that has none.
        (counter.labels(**metric.values(labels)) if metric.labels else counter).inc(amount)

    def observe(self, metric: Metric, seconds: float, **labels: str) -> None:
        histogram = self._histograms[metric.name]
        (histogram.labels(**metric.values(labels)) if metric.labels else histogram).observe(seconds)

    def page(self, gauges: Iterable[GaugeSample] = ()) -> bytes:
        """Write what Prometheus reads: the counts of all processes, and the given gauges."""
        counts = self._registry
        if os.environ.get(MULTIPROCESS):
            counts = CollectorRegistry()
            MultiProcessCollector(counts)  # type: ignore[no-untyped-call]  # the library's
        return generate_latest(counts) + generate_latest(_Gauges(gauges))


@dataclass(frozen=True)
class _Gauges(Collector):
    samples: Iterable[GaugeSample]

    def collect(self) -> Iterator[GaugeMetricFamily]:
        families: dict[str, GaugeMetricFamily] = {}
        for sample in self.samples:
            metric = sample.metric
            family = families.setdefault(
                metric.name, GaugeMetricFamily(metric.name, metric.help, labels=list(metric.labels))
            )
            family.add_metric(list(metric.values(sample.labels).values()), sample.value)
        yield from families.values()


class Stopwatch:
    """Seconds by stage; a stage that runs twice adds up. Each run is a span."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._begin = clock()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    @property
    def total(self) -> float:
        """Return the seconds since this stopwatch was created."""
        return self._clock() - self._begin

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the duration of the block to the stage."""
        begin = self._clock()
        try:
            with span(name):
                yield
        finally:
            self.seconds[name] += self._clock() - begin


@dataclass
class RequestContext:
    """What a transport sets while it serves a request.

    status: of HTTP, None elsewhere; conventions: `http.*` and `rpc.*` attributes of the span.
    """

    request_id: str
    operation: str = OTHER
    code: str = "ok"
    status: int | None = None
    conventions: dict[str, Value] = field(default_factory=dict)


@contextmanager
def request_context(
    telemetry: Telemetry, transport: Transport, headers: Mapping[str, str]
) -> Iterator[RequestContext]:
    """Count, trace and log one request, without anything that a user wrote, sent or named.

    headers: their names are in lower case. `docs/observability.md` lists what is recorded.
    """
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
            telemetry.count(REQUESTS, operation=request.operation, code=request.code)
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
