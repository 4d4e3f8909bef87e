"""What an entry of the catalogue says, and the buckets for each kind of quantity."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Literal

Kind = Literal["counter", "histogram", "gauge"]
# Base units, as Prometheus asks; what is only counted is named by its plural.
Unit = Literal[
    "seconds",
    "bytes",
    "ratio",
    "number",
    "info",
    "bool",
    "jobs",
    "videos",
    "windows",
    "super images",
    "requests",
]

OTHER = "other"

# A search is milliseconds, up to its deadline; finest around its bars of 25 and 60 ms.
SEARCH_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.025, 0.035),
    *(0.05, 0.06, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
# A stage of a search may be microseconds: a cached text, an empty queue.
STAGE_BUCKETS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015),
    *(0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
# Ingestion is from a tenth of a second for a clip to hours for a day of video.
INGEST_BUCKETS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180, 600, 1800, 3600, 10800)
# A stage of an ingest begins lower: probing and committing are milliseconds.
INGEST_STAGE_BUCKETS = (0.001, 0.0025, 0.01, 0.025, *INGEST_BUCKETS)
# A queue is empty, or a working day long.
WAIT_BUCKETS = (0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 14400, 86400)


@dataclass(frozen=True)
class Metric:
    """One metric; `labels` lists every value each label can take.

    `from_zero`: exported at 0 before the first event, so that a rate sees the first one too.
    """

    name: str
    kind: Kind
    help: str
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    buckets: tuple[float, ...] = ()
    from_zero: bool = False
    unit: Unit = field(kw_only=True)

    def values(self, given: Mapping[str, str]) -> dict[str, str]:
        """The label values to export for `given` ones."""
        return {
            label: given[label] if given[label] in allowed else OTHER
            for label, allowed in self.labels.items()
        }

    @property
    def at_scrape(self) -> bool:
        """Whether it is read from the state folder when asked, so the same from every process."""
        return self.kind == "gauge"

    @property
    def names(self) -> tuple[str, ...]:
        """The names its series have on a page."""
        if self.kind != "histogram":
            return (self.name,)
        return tuple(f"{self.name}_{part}" for part in ("bucket", "count", "sum"))

    @property
    def most_series(self) -> int:
        """How many series it can become, every label at every value and at `other`."""
        combinations = prod(len(values) + 1 for values in self.labels.values())
        # A histogram has one series a bucket, that of infinity, a count and a sum.
        return combinations * (len(self.buckets) + 3 if self.buckets else 1)
