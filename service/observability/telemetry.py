"""Recording metrics, and the page that Prometheus reads.

Several service processes answer on one port, so the page of each must cover all of them: counters
and histograms go to files that prometheus_client adds up (its multiprocess mode, which BentoML
switches on for its workers before they import anything); gauges are read from the state folder at
each scrape.
"""

import itertools
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

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

from service.observability.metrics import Metric
from service.observability.tracing import span

CONTENT_TYPE = CONTENT_TYPE_LATEST
# Creation times would double the series of every counter and histogram.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library's

MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"


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
        """Add to a counter."""
        counter = self._counters[metric.name]
        # The library refuses `labels` for a metric that has none.
        (counter.labels(**metric.values(labels)) if metric.labels else counter).inc(amount)

    def observe(self, metric: Metric, seconds: float, **labels: str) -> None:
        """Add an observation to a histogram."""
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
        """Seconds since this stopwatch was created."""
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
