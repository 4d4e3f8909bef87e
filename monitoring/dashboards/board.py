"""What a dashboard consists of, independent of Grafana: panels in rows, queries, variables.

Every panel needs a sentence that says what it shows, and a unit.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["lines", "shares", "bars", "number", "heatmap"]

# Grafana's names of the units in use.
SECONDS = "s"
RATIO = "percentunit"
PER_SECOND = "reqps"
BYTES = "bytes"
COUNT = "short"
TIMES = "suffix: x"
WATTS = "watt"


@dataclass(frozen=True)
class Query:
    """One PromQL expression, and the legend of its series."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel; `width` in Grafana's 24 columns."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    kind: Kind = "lines"
    width: int = 12


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True)
class Variable:
    """A choice at the top of a dashboard: the values of a label of a metric."""

    name: str
    title: str
    metric: str

    @property
    def query(self) -> str:
        """The query by which Grafana reads the values."""
        return f"label_values({self.metric}, {self.name})"


@dataclass(frozen=True)
class Board:
    """One dashboard; its file is `<uid>.json`."""

    uid: str
    title: str
    description: str
    variables: tuple[Variable, ...]
    rows: tuple[Row, ...]


INSTANCE = Variable("instance", "Instance", "qasir_build_info")
MODE = Variable("mode", "Mode", "qasir_search_seconds_count")
GRID_SIZE = Variable("grid_size", "Grid size", "qasir_search_seconds_count")
INDEXED_GRID_SIZE = Variable("grid_size", "Grid size", "qasir_index_super_images")


def quantiles(
    histogram: str,
    by: str,
    shares: tuple[float, ...],
    selector: str = "",
    window: str = "$__rate_interval",
) -> tuple[Query, ...]:
    """Query quantiles of a histogram, one series per value of the label `by` ("": one in all)."""
    labels = f"le, {by}" if by else "le"
    rate = f"sum by ({labels}) (rate({histogram}_bucket{{{selector}}}[{window}]))"
    name = f"{'N' if by == 'grid_size' else by} {{{{{by}}}}} " if by else ""
    # Without an observation in the window a quantile is NaN; the comparison drops it.
    return tuple(
        Query(f"histogram_quantile({share:g}, {rate}) >= 0", f"{name}p{share * 100:g}")
        for share in shares
    )


def ratio(above: str, below: str) -> str:
    """Divide, without data where `below` is 0."""
    return f"{above} / ({below} > 0)"
