"""Queries: read from where they stand, their names taken out of PromQL with care."""

import pytest

from monitoring.queries import metric_names, sides, substituted


@pytest.mark.parametrize(
    ("expr", "names"),
    [
        ("a", {"a"}),
        ('rate(a_total{b="c{d}", e=~"f|g"}[5m])', {"a_total"}),
        ("sum by (le, h) (i) / on (j) group_left (k) (l > 0)", {"i", "l"}),
        ("histogram_quantile(0.9, sum(rate(m[5m:1m] offset 1h))) or vector(0)", {"m"}),
        ("n:o:p / 1e6 unless absent(q)", {"n:o:p", "q"}),
    ],
)
def test_names_are_those_of_series(expr: str, names: set[str]) -> None:
    assert metric_names(expr) == names


def test_the_sides_of_an_alert_are_what_it_compares() -> None:
    assert sides("a > 14.4 * 0.005 and (b < 2 * c or absent(d{e='f'}))") == [
        "a",
        "b",
        "2 * c",
        'd{e="f"}',
    ]


def test_longer_variables_go_first() -> None:
    values = {"grid": "1", "grid_size": ".*"}
    assert substituted('a{n=~"$grid_size", m="$grid"}', values) == 'a{n=~".*", m="1"}'
