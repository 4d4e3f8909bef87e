"""Charades-STA: lines `VID start end##sentence.`, durations in a file of their own.

Many spans end after their video does, and short sentences repeat: over the 1,334 test
videos the repeats alone cap R@1 at 76.9.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from qasir.errors import InvalidAnnotations
from training.benchmarks.annotations import Annotations, Row, collect, read_lines, read_text


def read(folder: Path) -> Annotations:
    """Read the three files of a folder.

    Raises:
        InvalidAnnotations: a file is missing, a line has another shape or a duration is unknown.
    """
    durations = _durations(folder / "charades_durations.json")
    return collect(
        _rows(folder / "charades_sta_train.txt", durations),
        _rows(folder / "charades_sta_test.txt", durations),
    )


def _durations(path: Path) -> dict[str, float]:
    try:
        videos = json.loads(read_text(path))
        return {video_id: float(video["duration"]) for video_id, video in videos.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidAnnotations(f"{path}: {error!r}; expected {{video: {{duration}}}}") from error


def _rows(path: Path, durations: dict[str, float]) -> Iterator[Row]:
    for number, line in read_lines(path):
        try:
            span, text = line.split("##", 1)
            video_id, start, end = span.split()
            yield Row(video_id, text, float(start), float(end), durations[video_id])
        except (ValueError, KeyError) as error:
            raise InvalidAnnotations(
                f"{path}, line {number}: {error!r}; expected 'VID start end##sentence'"
            ) from error
