"""ActivityNet Captions: `train.json` and `val_1.json`, the full evaluation pool of 4,917 videos.

The MS-SL release evaluates on 4,430 of them: numbers over the two pools do not compare.
"""

import json
from collections.abc import Iterator
from pathlib import Path

from qasir.errors import InvalidAnnotations
from training.benchmarks.annotations import Annotations, Row, collect, read_text


def read(folder: Path) -> Annotations:
    """Read the two files of a folder.

    Raises:
        InvalidAnnotations: a file is missing or has another shape.
    """
    return collect(_rows(folder / "train.json"), _rows(folder / "val_1.json"))


def _rows(path: Path) -> Iterator[Row]:
    try:
        for video_id, video in json.loads(read_text(path)).items():
            spans = zip(video["timestamps"], video["sentences"], strict=True)
            for (start, end), text in spans:
                yield Row(video_id, text, float(start), float(end), float(video["duration"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidAnnotations(
            f"{path}: {error!r}; expected {{video: {{duration, timestamps, sentences}}}}"
        ) from error
