"""From a benchmark's raw rows to clean queries, counting every repair on the way."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from qasir.errors import InvalidAnnotations
from training.dataset import Query, Subset, Video

ROUNDING = 1e-6  # seconds; less is the arithmetic of whoever wrote the file


@dataclass(frozen=True)
class Row:
    """One annotated sentence as a benchmark's file has it."""

    video_id: str
    text: str
    start: float
    end: float
    duration: float
    kind: str | None = None


@dataclass(frozen=True)
class Annotations:
    """A benchmark's train part (None where its file is absent) and evaluation pool.

    `repairs` counts what was mended, per part and reason, for the printed summary.
    """

    train: Subset | None
    test: Subset
    repairs: Mapping[str, Mapping[str, int]]


def collect(train: Iterable[Row] | None, test: Iterable[Row]) -> Annotations:
    """Clean both parts of a benchmark."""
    test_subset, test_repairs = clean(test)
    if train is None:
        return Annotations(None, test_subset, {"test": test_repairs})
    train_subset, train_repairs = clean(train)
    return Annotations(train_subset, test_subset, {"train": train_repairs, "test": test_repairs})


def clean(rows: Iterable[Row]) -> tuple[Subset, Counter[str]]:
    """Number the sentences of each video and repair what can be repaired.

    No query is dropped, because the protocol counts them all: spaces are trimmed, a
    reversed span is turned round, a span is clipped to its video. An empty span stays
    empty (its moment is unknown). Repeated sentences stay too, and cap what R@1 can reach.
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
    """The text of an annotation file.

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
    """Number and text of every line that is not empty; only a line feed ends a line."""
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, line


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
