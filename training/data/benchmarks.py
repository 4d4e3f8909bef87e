"""Reads the annotation files of ActivityNet Captions, TVR and Charades-STA, and repairs them.

Each reader turns the files of one folder into rows; `collect` repairs the rows and counts every
repair. To add a benchmark, write one reader and name it in `READERS`.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from qasir.errors import InvalidAnnotations
from training.data.dataset import Query, Subset, Video

ROUNDING = 1e-6  # seconds; a smaller overrun is a rounding error in the file


@dataclass(frozen=True)
class Row:
    """One annotated sentence as it stands in a benchmark's file."""

    video_id: str
    text: str
    start: float
    end: float
    duration: float
    kind: str | None = None


@dataclass(frozen=True)
class Annotations:
    """A benchmark's train part (None if its file is absent) and evaluation pool.

    `repairs` counts repairs by part and reason, for the printed summary.
    """

    train: Subset | None
    test: Subset
    repairs: Mapping[str, Mapping[str, int]]


def collect(train: Iterable[Row] | None, test: Iterable[Row]) -> Annotations:
    """Cleans both parts of a benchmark."""
    test_subset, test_repairs = clean(test)
    if train is None:
        return Annotations(None, test_subset, {"test": test_repairs})
    train_subset, train_repairs = clean(train)
    return Annotations(train_subset, test_subset, {"train": train_repairs, "test": test_repairs})


def clean(rows: Iterable[Row]) -> tuple[Subset, Counter[str]]:
    """Numbers the sentences of each video and repairs their text and spans.

    No query is dropped, because the protocol counts them all. Spaces are trimmed, reversed
    spans are turned round, spans are clipped to their video. An empty span stays empty (its
    moment is unknown). Repeated sentences stay too, and limit the R@1 that can be reached.
    """
    repairs: Counter[str] = Counter()
    videos: dict[str, Video] = {}
    positions: Counter[str] = Counter()
    queries: list[Query] = []
    seen: set[str] = set()
    for row in rows:
        videos.setdefault(row.video_id, Video(row.video_id, row.duration))
        query = _clean_row(row, positions[row.video_id], repairs)
        positions[row.video_id] += 1
        repairs["repeated sentence kept"] += query.text in seen
        seen.add(query.text)
        queries.append(query)
    return Subset(tuple(videos.values()), tuple(queries)), +repairs


def read_text(path: Path) -> str:
    """Reads the text of an annotation file.

    Raises:
        InvalidAnnotations: there is no such file, or it is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise InvalidAnnotations(
            f"no {path.name} in {path.parent}; set prepare.annotations in params.yaml to the "
            f"folder with this dataset's files"
        ) from error
    except UnicodeDecodeError as error:
        raise InvalidAnnotations(f"{path} is not UTF-8 text: {error}") from error


def read_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yields number and text of every non-empty line; only a line feed ends a line."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line


@contextmanager
def _expected(place: object, shape: str) -> Iterator[None]:
    """Turns an error of reading into one that names the place and the expected shape."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidAnnotations(f"{place}: {error!r}; expected {shape}") from error


def _clean_row(row: Row, position: int, repairs: Counter[str]) -> Query:
    where = f"{row.video_id}, sentence {position}"
    text = " ".join(row.text.split())
    if not text:
        raise InvalidAnnotations(f"{where}: the sentence is empty; remove the row")
    if row.duration <= 0 or min(row.start, row.end) < 0:
        raise InvalidAnnotations(
            f"{where}: span [{row.start}, {row.end}] in {row.duration} s; times must be positive"
        )
    start, end = sorted((row.start, row.end))
    repairs["spaces trimmed"] += text != row.text
    repairs["reversed span turned round"] += row.end < row.start
    repairs["empty span, moment unknown"] += row.end == row.start
    repairs["span clipped to the duration"] += end > row.duration + ROUNDING
    start, end = min(start, row.duration), min(end, row.duration)
    return Query(
        f"{row.video_id}#enc#{position}", row.video_id, text, start, end, row.duration, row.kind
    )


TVR_KINDS = ("v", "vt", "t")


def read_activitynet(folder: Path) -> Annotations:
    """Reads `train.json` and `val_1.json`; the latter is the evaluation pool of 4,917 videos.

    The MS-SL release evaluates on 4,430 of them, so numbers over the two pools do not compare.

    Raises:
        InvalidAnnotations: a file is missing or has another shape.
    """
    return collect(
        _activitynet_rows(folder / "train.json"), _activitynet_rows(folder / "val_1.json")
    )


def _activitynet_rows(path: Path) -> Iterator[Row]:
    with _expected(path, "{video: {duration, timestamps, sentences}}"):
        for video_id, video in json.loads(read_text(path)).items():
            spans = zip(video["timestamps"], video["sentences"], strict=True)
            for (start, end), text in spans:
                yield Row(video_id, text, float(start), float(end), float(video["duration"]))


def read_tvr(folder: Path) -> Annotations:
    """Reads `tvr_val_release.jsonl`, and `tvr_train_release.jsonl` where it exists.

    Without the train file the dataset only serves evaluation. A query's type becomes its kind:
    v (video), vt (video and text) or t. "t" queries need subtitles, which no picture shows, so
    results are reported by kind.

    Raises:
        InvalidAnnotations: the val file is missing, or a row has another shape.
    """
    train = folder / "tvr_train_release.jsonl"
    return collect(
        _tvr_rows(train) if train.is_file() else None, _tvr_rows(folder / "tvr_val_release.jsonl")
    )


def _tvr_rows(path: Path) -> Iterator[Row]:
    for number, line in read_lines(path):
        with _expected(f"{path}, line {number}", "vid_name, duration, ts, desc, type"):
            row = json.loads(line)
            (start, end), duration, kind = row["ts"], float(row["duration"]), row["type"]
            if kind not in TVR_KINDS:
                raise ValueError(f"type {kind!r} is none of {TVR_KINDS}")
            yield Row(row["vid_name"], row["desc"], float(start), float(end), duration, kind)


def read_charades(folder: Path) -> Annotations:
    """Reads lines `VID start end##sentence.` and a file of video durations.

    Many spans end after their video does, and short sentences repeat: over the 1,334 test
    videos the repeats alone cap R@1 at 76.9.

    Raises:
        InvalidAnnotations: a file is missing, a line has another shape or a duration is unknown.
    """
    path = folder / "charades_durations.json"
    with _expected(path, "{video: {duration}}"):
        videos = json.loads(read_text(path))
        durations = {video_id: float(video["duration"]) for video_id, video in videos.items()}
    return collect(
        _charades_rows(folder / "charades_sta_train.txt", durations),
        _charades_rows(folder / "charades_sta_test.txt", durations),
    )


def _charades_rows(path: Path, durations: dict[str, float]) -> Iterator[Row]:
    for number, line in read_lines(path):
        with _expected(f"{path}, line {number}", "'VID start end##sentence'"):
            span, text = line.split("##", 1)
            video_id, start, end = span.split()
            yield Row(video_id, text, float(start), float(end), durations[video_id])


READERS: Mapping[str, Callable[[Path], Annotations]] = {
    "activitynet": read_activitynet,
    "tvr": read_tvr,
    "charades": read_charades,
}
