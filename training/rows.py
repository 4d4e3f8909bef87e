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

from qasir.artifacts import atomic_write
from qasir.scoring import Pooling
from qasir.types import Int64
from training.dataset import Query
from training.intervals import Interval
from training.measures import UNANSWERED, Measures
from training.scores import Unit

Sampling = Literal["super-image", "sparse", "low-res"]
Variant = Literal["zero-shot", "fine-tuned", "hybrid"]

DIGITS = 6


@dataclass(frozen=True)
class StudyRow:
    """One line of evaluation.json and study.json: a configuration and its measures on a split.

    recipe: what differs from the served model of this variant, "" where nothing does;
    measures: means over `seeds` trainings; objective: R@1 + R@5 + R@10 with its 95 % interval
    (bootstrap over queries). Encodings and GMACs are of the image tower, per video.
    """

    dataset: str
    split: str
    backbone: str
    variant: Variant
    recipe: str
    pooling: Pooling
    unit: Unit
    sampling: Sampling
    grid_size: int
    resolution: int
    fps: float
    measures: Measures
    objective: Interval
    encodes_per_video: float
    gmacs_per_video: float | None
    seeds: int


@dataclass(frozen=True)
class LengthRow:
    """One line of lengths.json: recall where videos have `length` super images.

    length: "natural", a number, or "mixed".
    """

    variant: Variant
    grid_size: int
    unit: Unit
    pooling: Pooling
    length: int | str
    super_images_per_video: float
    measures: Measures


@dataclass(frozen=True)
class GroupRow:
    """One line of groups.json: recall of some queries, by M/V ratio or the benchmark's kind."""

    variant: Variant
    grid_size: int
    group: str
    measures: Measures
    objective: Interval


@dataclass(frozen=True)
class LocalisationRow:
    """One line of localisation.json: how well the first moment in the right video fits.

    mean_iou: temporal intersection over union, in percent; iou3, iou5, iou7: R@1 at an IoU of
    .3, .5, .7: percent of the queries whose first moment reaches it.
    """

    variant: Variant
    grid_size: int
    queries: int
    mean_iou: float
    iou3: float
    iou5: float
    iou7: float


def write_json(value: object, path: Path) -> None:
    """Write rows or a mapping with rounded numbers."""
    with atomic_write(path) as file:
        file.write(json.dumps(plain(value), indent=1).encode() + b"\n")


def write_ranks(queries: Sequence[Query], columns: Mapping[str, Int64], path: Path) -> None:
    """Write one row a query, one column a configuration; an unanswered query's rank is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["query_id", *columns])
    for row, query in enumerate(queries):
        ranks = (int(column[row]) for column in columns.values())
        writer.writerow([query.query_id, *("" if r == UNANSWERED else r for r in ranks)])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def plain(value: object) -> Any:
    """A value as JSON holds it: measures and intervals flattened into their row.

    >>> plain({"objective": Interval(1.0, 0.5, 1.5)})
    {'objective': 1.0, 'objective_low': 0.5, 'objective_high': 1.5}
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if is_dataclass(value) and not isinstance(value, type):
        return plain({name: getattr(value, name) for name in value.__dataclass_fields__})
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _fields(str(key), item).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _fields(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, Measures):
        return dict(plain(asdict(value)))
    if isinstance(value, Interval):
        ends = {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        return dict(plain(ends))
    return {name: plain(value)}
