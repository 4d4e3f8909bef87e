"""Send every query of every panel and rule to Prometheus: `python -m monitoring.evidence`.

Prints a table of the answers, and what is missing or impossible.
"""

import math
import re
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass

import httpx
from rich.console import Console
from rich.table import Table

from monitoring.queries import (
    NamedQuery,
    absent_hardware,
    dashboard_queries,
    rule_queries,
    substituted,
)
from service.settings import load_settings

# Every value of every variable, over the last minutes.
VARIABLES = {
    **dict.fromkeys(("instance", "mode", "grid_size", "model"), ".*"),
    "__rate_interval": "1m",
    "__range": "5m",
}
QUANTILE = re.compile(r"histogram_quantile\((0\.\d+),")
RATIO_UNIT = "percentunit"

Labels = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Answer:
    """Prometheus' answer to one query: a value for each set of labels."""

    query: NamedQuery
    values: dict[Labels, float]

    def faults(self, absent: Set[str]) -> Iterator[str]:
        """Describe what is missing or impossible."""
        if not self.values and self.query.name not in absent:
            yield "no data"
        values = self.values.values()
        if any(not math.isfinite(value) for value in values):
            yield "not a number, or infinite"
        # A prediction may be impossible.
        if any(value < 0 for value in values) and "predict_linear" not in self.query.expr:
            yield "negative"
        ratio = self.query.unit == RATIO_UNIT or ":ratio_" in self.query.name
        if ratio and any(value > 1 + 1e-9 for value in values):
            yield "a share above 1"


def every_query() -> list[NamedQuery]:
    """Read the queries of the panels, then those of the rules."""
    return [*dashboard_queries(), *rule_queries()]


def ask(url: str, queries: Iterable[NamedQuery]) -> list[Answer]:
    """Send all queries for the same moment, so that answers can be compared.

    Raises:
        httpx.HTTPError: Prometheus does not answer, or refuses a query.
    """
    now = time.time()
    with httpx.Client(base_url=url, timeout=30) as http:
        return [Answer(query, _values(http, query, now)) for query in queries]


def faults(answers: Sequence[Answer], absent: Set[str]) -> list[str]:
    """List every fault of every answer, and quantiles that are out of order."""
    own = [f"{answer.query.name}: {fault}" for answer in answers for fault in answer.faults(absent)]
    return own + list(_disordered(answers))


def table(answers: Sequence[Answer], absent: Set[str]) -> Table:
    """Tabulate queries with their number of series and range of values."""
    result = Table(box=None, pad_edge=False)
    result.add_column("query")
    for heading in ("series", "lowest", "highest"):
        result.add_column(heading, justify="right")
    result.add_column("")
    for answer in answers:
        values = answer.values.values()
        span = (f"{min(values):.4g}", f"{max(values):.4g}") if values else ("", "")
        fault = "; ".join(answer.faults(absent)) or ("" if values else "absent hardware")
        result.add_row(answer.query.name, str(len(values)), *span, fault)
    return result


def _values(http: httpx.Client, query: NamedQuery, now: float) -> dict[Labels, float]:
    form = {"query": substituted(query.expr, VARIABLES), "time": str(now)}
    result = http.post("/api/v1/query", data=form).raise_for_status().json()["data"]["result"]
    return {frozenset(row["metric"].items()): float(row["value"][1]) for row in result}


def _disordered(answers: Sequence[Answer]) -> Iterator[str]:
    """A higher quantile of the same series must not be lower."""
    quantiles: dict[tuple[str, Labels], dict[float, float]] = defaultdict(dict)
    for answer in answers:
        for labels, value in answer.values.items():
            match = QUANTILE.search(answer.query.expr)
            share = match[1] if match else dict(labels).get("quantile")
            if share is not None:
                rest = frozenset(pair for pair in labels if pair[0] != "quantile")
                quantiles[QUANTILE.sub("", answer.query.expr), rest][float(share)] = value
    for (expr, labels), by_share in quantiles.items():
        ordered = [by_share[share] for share in sorted(by_share)]
        if ordered != sorted(ordered):
            yield f"quantiles out of order: {by_share} at {dict(labels)} of {expr}"


def main() -> None:
    """Print the table; exit with 1 if anything is missing or impossible."""
    settings = load_settings()
    url = f"http://127.0.0.1:{settings.prometheus_port}"
    absent = absent_hardware()
    try:
        answers = ask(url, every_query())
    except httpx.HTTPError as error:
        sys.exit(f"evidence: {url}: {error}; start it with `make monitor`")
    console = Console(soft_wrap=True)
    console.print(table(answers, absent))
    wrong = faults(answers, absent)
    console.print(f"{len(answers)} queries, {len(wrong)} faults")
    sys.exit("\n".join(wrong) if wrong else 0)


if __name__ == "__main__":
    main()
