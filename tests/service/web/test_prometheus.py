"""The page's reading of /metrics, against the client library's own parser and a slow quantile."""

from bisect import bisect_left
from typing import Any

import pytest
from playwright.sync_api import Page
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.browser import Reader

BUCKETS = (0.01, 0.05, 0.1, 1.0)
OBSERVED = [0.002, 0.02, 0.03, 0.04, 0.07, 0.2, 0.5, 0.9, 3.0]


@pytest.fixture
def page(reader: Reader) -> Page:
    return reader.visit("/?tab=study")


def run(page: Page, script: str, argument: Any) -> Any:
    """Evaluate `script`, an expression of `m`, the module, and `a`, the argument."""
    load = 'async (a) => { const m = await import("/assets/js/prometheus.js"); return %s; }'
    return page.evaluate(load % script, argument)


def registry() -> CollectorRegistry:
    made = CollectorRegistry()
    counted = Counter("odd", "Odd labels.", ["name"], registry=made)
    for value in ('a "quoted" one', "back\\slash", "two\nlines", "plain"):
        counted.labels(value).inc(3)
    timed = Histogram("time_seconds", "Times.", ["n", "mode"], buckets=BUCKETS, registry=made)
    for place, seconds in enumerate(OBSERVED):
        timed.labels("2", ("fast", "accurate")[place % 2]).observe(seconds)
    timed.labels("3", "fast").observe(0.02)
    return made


def test_samples_are_those_of_the_clients_parser(page: Page) -> None:
    text = generate_latest(registry()).decode()
    expected = [
        (sample.name, dict(sample.labels), float(sample.value))
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    ]
    found = run(page, "m.parse(a)", text)
    assert [(one["name"], one["labels"], one["value"]) for one in found] == expected


def slow_quantile(share: float) -> float:
    """As Prometheus documents histogram_quantile, from the observations themselves."""
    rank, lower = share * len(OBSERVED), 0.0
    counts = [sum(bisect_left(BUCKETS, one) <= at for one in OBSERVED) for at in range(4)]
    for at, upper in enumerate(BUCKETS):
        if counts[at] >= rank:
            below = counts[at - 1] if at else 0
            return lower + (upper - lower) * (rank - below) / (counts[at] - below)
        lower = upper
    return lower


@pytest.mark.parametrize("share", [0.05, 0.5, 0.75, 0.95, 1.0])
def test_quantiles_are_those_of_prometheus(page: Page, share: float) -> None:
    script = 'm.quantile(a[1], m.histograms(m.parse(a[0]), "time_seconds", (l) => l.n).get("2"))'
    text = generate_latest(registry()).decode()
    assert run(page, script, [text, share]) == pytest.approx(slow_quantile(share))


def test_a_window_counts_what_came_in_it(page: Page) -> None:
    made = registry()
    before = generate_latest(made).decode()
    timed = made._names_to_collectors["time_seconds"]
    assert isinstance(timed, Histogram)
    for _ in range(4):
        timed.labels("3", "fast").observe(0.5)
    script = """(() => {
      const [early, late] = a.map((t) => m.histograms(m.parse(t), "time_seconds", (l) => l.n));
      const passed = m.since(late.get("3"), early.get("3"));
      return [passed.count, passed.sum, m.quantile(0.5, passed)];
    })()"""
    count, total, median = run(page, script, [before, generate_latest(made).decode()])
    assert (count, total, median) == (4, pytest.approx(2.0), pytest.approx(0.1 + 0.9 / 2))
