"""The catalogue of metrics: names, units, labels, buckets, and how many series they become."""

from importlib import import_module
from math import prod
from pkgutil import iter_modules

import pytest

import service.http
from qasir import errors
from qasir.errors import QasirError
from service.observability import metrics
from service.observability.metrics import (
    METRICS,
    OPERATIONS,
    SERVICE_METRICS,
    WORKER_METRICS,
    Metric,
)

# What a page may become at most, so that a scrape stays cheap.
SERVICE_SERIES = 3500
WORKER_SERIES = 1500
# Everything else is a count, a version, a flag or an info.
BASE_UNITS = {
    "seconds": (
        metrics.SEARCH_SECONDS,
        metrics.SEARCH_STAGE_SECONDS,
        metrics.INGEST_SECONDS,
        metrics.INGEST_STAGE_SECONDS,
        metrics.VIDEO_SECONDS_INDEXED,
        metrics.JOB_WAIT_SECONDS,
        metrics.OLDEST_QUEUED_SECONDS,
        metrics.CANARY_LAST_RUN,
        metrics.CANARY_SECONDS,
    ),
    "bytes": (metrics.STATE_FREE_BYTES, metrics.STATE_SIZE_BYTES, metrics.STATE_RESERVE_BYTES),
    "ratio": (metrics.EVAL_RECALL,),
}
SUFFIXES = {"seconds": "seconds", "bytes": "bytes", "recall": "ratio"}


def most_series(metric: Metric) -> int:
    """How many series a metric can become, every label at every value and at `other`."""
    combinations = prod(len(values) + 1 for values in metric.labels.values())
    # A histogram has one series per bucket, that of infinity, a count and a sum.
    return combinations * (len(metric.buckets) + 3 if metric.buckets else 1)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_entries_follow_the_rules(metric: Metric) -> None:
    assert metric.name.startswith("qasir_")
    assert metric.help.endswith(".")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert bool(metric.buckets) == (metric.kind == "histogram")
    assert list(metric.buckets) == sorted(set(metric.buckets))
    assert all(values for values in metric.labels.values())


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_names_end_in_their_base_unit(metric: Metric) -> None:
    last = metric.name.removesuffix("_total").rpartition("_")[2]
    if metric.name == metrics.VIDEO_SECONDS_INDEXED.name:
        last = "seconds"
    units = [unit for unit, members in BASE_UNITS.items() if metric in members]
    assert units == ([SUFFIXES[last]] if last in SUFFIXES else [])


def test_names_are_not_used_twice() -> None:
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_error_code_is_a_label_value() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    codes = {kind.code for kind in classes if issubclass(kind, QasirError)}
    assert codes == set(metrics.JOB_FAILURES.labels["code"])


def test_series_are_counted_with_every_bucket() -> None:
    metric = Metric("histogram", "qasir_x_seconds", "X.", {"a": ("1", "2")}, (0.1, 1))
    # At a = 1, 2 and other: two buckets, the one of infinity, count and sum.
    assert most_series(metric) == 3 * 5


def test_pages_stay_within_their_budget_of_series() -> None:
    assert sum(most_series(metric) for metric in SERVICE_METRICS) <= SERVICE_SERIES
    assert sum(most_series(metric) for metric in WORKER_METRICS) <= WORKER_SERIES


def test_the_operations_are_the_routes() -> None:
    # `bento` configures the logs of its process when it is imported.
    names = {module.name for module in iter_modules(service.http.__path__)} - {"bento"}
    modules = [import_module(f"service.http.{name}") for name in names]
    routers = [module.router for module in modules if hasattr(module, "router")]
    routes = {getattr(route, "name", None) for router in routers for route in router.routes}
    assert routes == set(OPERATIONS)
