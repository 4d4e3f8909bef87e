"""TVR: `tvr_train_release.jsonl` if it is there, and `tvr_val_release.jsonl`.

A query's type is kept as its kind: v (video), vt (video and text) or t; the "t" queries
need subtitles, which no picture shows, so results are reported per type.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qasir.errors import InvalidAnnotations
from training.benchmarks.annotations import Annotations, Row, collect, read_lines

KINDS = ("v", "vt", "t")


def read(folder: Path) -> Annotations:
    """Read the files of a folder; without the train file the set serves evaluation only.

    Raises:
        InvalidAnnotations: the val file is missing, or a row has another shape.
    """
    train = folder / "tvr_train_release.jsonl"
    return collect(
        _rows(train) if train.is_file() else None, _rows(folder / "tvr_val_release.jsonl")
    )


def _rows(path: Path) -> Iterator[Row]:
    for number, line in read_lines(path):
        try:
            yield _row(json.loads(line))
        except (ValueError, KeyError, TypeError) as error:
            raise InvalidAnnotations(
                f"{path}, line {number}: {error!r}; expected vid_name, duration, ts, desc, type"
            ) from error


def _row(fields: Any) -> Row:
    start, end = fields["ts"]
    kind = fields["type"]
    if kind not in KINDS:
        raise ValueError(f"type {kind!r} is none of {KINDS}")
    duration = float(fields["duration"])
    return Row(fields["vid_name"], fields["desc"], float(start), float(end), duration, kind)
