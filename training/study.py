"""Result rows as they stand in `results/`, and how they are written.

Every file is a list of flat rows (metrics.json alone is nested, as DVC shows it), numbers
rounded so that the last bit of a float never makes a difference in git.
"""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, is_dataclass
from pathlib import Path
from typing import Any, Literal

from qasir.artifacts import whole_file
from qasir.scoring import Pooling
from qasir.types import Int64
from training.dataset import Query
from training.measures import UNANSWERED, Measures

Sampling = Literal["super-image", "sparse", "low-res"]

DIGITS = 6


@dataclass(frozen=True)
class StudyRow:
    """One line of study.json: a configuration and its measures on a split."""

    dataset: str
    split: str
    backbone: str
    variant: str
    pooling: Pooling
    unit: str
    sampling: Sampling
    grid_size: int
    resolution: int
    fps: float
    videos: int
    queries: int
    r1: float
    r5: float
    r10: float
    r100: float | None
    sumr: float
    encodes_per_video: float
    gmacs_per_video: float | None
    seeds: int


@dataclass(frozen=True)
class LengthRow:
    """One line of lengths.json: recall where videos have `length` super images.

    length: "natural", a number, or "mixed".
    """

    grid_size: int
    pooling: Pooling
    length: int | str
    super_images_per_video: float
    measures: Measures


@dataclass(frozen=True)
class GroupRow:
    """One line of groups.json: recall of some queries, by M/V ratio or the benchmark's kind."""

    grid_size: int
    group: str
    measures: Measures


def write_json(value: object, path: Path) -> None:
    """Write rows or a mapping with rounded numbers."""
    with whole_file(path) as file:
        file.write(json.dumps(_plain(value), indent=1).encode() + b"\n")


def write_ranks(queries: Sequence[Query], columns: Mapping[str, Int64], path: Path) -> None:
    """Write one row a query, one column a configuration; an unanswered query's rank is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["query_id", *columns])
    for row, query in enumerate(queries):
        ranks = (int(column[row]) for column in columns.values())
        writer.writerow([query.query_id, *("" if r == UNANSWERED else r for r in ranks)])
    with whole_file(path) as file:
        file.write(text.getvalue().encode())


def _plain(value: object) -> Any:
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if is_dataclass(value) and not isinstance(value, type):
        fields = asdict(value)
        # Measures are flattened into their row.
        fields |= fields.pop("measures", {})
        return _plain(fields)
    return value
