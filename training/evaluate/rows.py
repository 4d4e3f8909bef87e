"""Defines the rows of `results/` and writes and reads them.

Every file is a list of flat rows; metrics.json alone is nested, because DVC shows it so. Numbers
are rounded so that the last bit of a float never changes a file.
"""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, get_type_hints

from qasir.artifacts import atomic_write
from qasir.scoring import Pooling
from qasir.types import Int64
from training.data.dataset import Query
from training.evaluate.measures import UNANSWERED, Interval, Measures, gains, interval, measure
from training.evaluate.scores import Unit

Sampling = Literal["super-image", "sparse", "low-res"]
Variant = Literal["zero-shot", "fine-tuned", "hybrid"]
Row = TypeVar("Row")

DIGITS = 6


@dataclass(frozen=True)
class Configuration:
    """What one row of evaluation.json and study.json measures.

    recipe: what differs from the served model of this variant, "" for nothing; resolution: R of
    the images that are encoded.
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


@dataclass(frozen=True)
class StudyRow(Measures, Configuration):
    """A configuration and its measures, as one line of evaluation.json or study.json.

    Measures are means over `seeds` trainings; objective: R@1 + R@5 + R@10 with its confidence
    interval (bootstrap over queries). Encodings and GMACs are those of the image tower per video.
    """

    objective: Interval
    encodes_per_video: float
    gmacs_per_video: float
    seeds: int


@dataclass(frozen=True)
class LengthRow:
    """One line of lengths.json: recall if videos have `length` super images.

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
    """One line of groups.json: recall of queries with one M/V ratio or of one kind."""

    variant: Variant
    grid_size: int
    group: str
    measures: Measures
    objective: Interval


@dataclass(frozen=True)
class LocalisationRow:
    """One line of localisation.json: overlap of the first moment in the right video.

    mean_iou: mean temporal intersection over union, in percent; iou3, iou5, iou7: percent of the
    queries whose first moment reaches an IoU of .3, .5, .7.
    """

    variant: Variant
    grid_size: int
    queries: int
    mean_iou: float
    iou3: float
    iou5: float
    iou7: float


@dataclass(frozen=True)
class FailureRow:
    """One line of failures.json: a query that ranks among the worst at the served N."""

    query_id: str
    text: str
    grid_size: int
    rank: int
    finest_grid_size: int
    finest_rank: int


def study_row(
    configuration: Configuration, ranks: Int64, videos: int, encodes: float, gmacs: float
) -> StudyRow:
    """Measures ranks [Q], or [seeds, Q]; `gmacs` are those of one encoding."""
    return StudyRow(
        **vars(configuration),
        **vars(measure(ranks, videos)),
        objective=interval(gains(ranks)),
        encodes_per_video=encodes,
        gmacs_per_video=encodes * gmacs,
        seeds=1 if ranks.ndim == 1 else len(ranks),
    )


def select(rows: Iterable[Row], **values: object) -> list[Row]:
    """Returns the rows whose fields have these values."""
    return [row for row in rows if all(getattr(row, k) == v for k, v in values.items())]


def write_json(value: object, path: Path) -> None:
    """Writes rows or a mapping with rounded numbers."""
    with atomic_write(path) as file:
        file.write(json.dumps(plain(value), indent=1).encode() + b"\n")


def read_rows(path: Path, kind: type[Row]) -> list[Row]:
    """Reads rows that `write_json` wrote; a file that does not exist has none."""
    if not path.is_file():
        return []
    hints = get_type_hints(kind)
    rows: list[dict[str, Any]] = json.loads(path.read_bytes())
    return [kind(**{name: _read(hint, name, row) for name, hint in hints.items()}) for row in rows]


def _read(hint: Any, name: str, row: Mapping[str, Any]) -> Any:
    """Reverses `_flattened` for one field."""
    if hint is Interval:
        return Interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
    if hint is Measures:
        return Measures(**{field.name: row[field.name] for field in fields(Measures)})
    return row[name]


def write_ranks(queries: Sequence[Query], columns: Mapping[str, Int64], path: Path) -> None:
    """Writes a row per query and a column per configuration; an unanswered rank is empty."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["query_id", *columns])
    for row, query in enumerate(queries):
        ranks = (int(column[row]) for column in columns.values())
        writer.writerow([query.query_id, *("" if r == UNANSWERED else r for r in ranks)])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())


def plain(value: object) -> Any:
    """Converts a value to JSON types and flattens measures and intervals.

    >>> plain({"objective": Interval(1.0, 0.5, 1.5)})
    {'objective': 1.0, 'objective_low': 0.5, 'objective_high': 1.5}
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if is_dataclass(value):
        return plain(vars(value))
    if isinstance(value, Mapping):
        return {k: v for key, item in value.items() for k, v in _flattened(str(key), item).items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def _flattened(name: str, value: object) -> dict[str, Any]:
    if isinstance(value, Measures):
        return dict(plain(value))
    if isinstance(value, Interval):
        ends = {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        return dict(plain(ends))
    return {name: plain(value)}
