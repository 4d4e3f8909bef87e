"""Reads and writes datasets: `data/dataset/<split>/{videos,queries}.jsonl`.

A query has exactly one positive video. Its id is `<video>#enc#<k>`, where k is the position
of the sentence among that video's sentences in file order.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeVar, get_args

from qasir.artifacts import atomic_write, may_be_video
from qasir.errors import CorruptArtifact

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)


@dataclass(frozen=True)
class Video:
    """One untrimmed video; `duration` is in seconds, as annotated."""

    video_id: str
    duration: float


@dataclass(frozen=True)
class Query:
    """One sentence about the moment [start, end) of a video that lasts `duration` seconds.

    `kind` is the benchmark's query type (TVR: v, vt, t), or None.
    """

    query_id: str
    video_id: str
    text: str
    start: float
    end: float
    duration: float
    kind: str | None = None

    @property
    def moment_ratio(self) -> float:
        """Returns M/V, the moment's length as a share of the video's.

        >>> Query("a#enc#0", "a", "a dog runs", 2.0, 6.0, 40.0).moment_ratio
        0.1
        """
        return (self.end - self.start) / self.duration


@dataclass(frozen=True)
class Subset:
    """The videos and queries of one split, in file order."""

    videos: tuple[Video, ...]
    queries: tuple[Query, ...]


EMPTY = Subset((), ())

Row = TypeVar("Row", Video, Query)


def write_dataset(folder: Path, subsets: Mapping[Split, Subset]) -> None:
    """Writes every split; a missing one is written empty."""
    for split in SPLITS:
        subset = subsets.get(split, EMPTY)
        _write_rows(folder / split / "videos.jsonl", subset.videos)
        _write_rows(folder / split / "queries.jsonl", subset.queries)


def read_split(folder: Path, split: Split) -> Subset:
    """Reads one split of `write_dataset`.

    Raises:
        CorruptArtifact: a file is missing or a row has other fields.
    """
    videos = _read_rows(folder / split / "videos.jsonl", Video)
    queries = _read_rows(folder / split / "queries.jsonl", Query)
    return Subset(tuple(videos), tuple(queries))


def find_videos(folder: Path) -> dict[str, Path]:
    """Finds video files under a folder, by id: the file name without its extension.

    Subtitles, pictures and notes are skipped. Of two files with one id the first in path order
    wins.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and may_be_video(path):
            files.setdefault(path.stem, path)
    return files


def _write_rows(path: Path, rows: Iterable[Video | Query]) -> None:
    with atomic_write(path) as file:
        for row in rows:
            fields = {key: value for key, value in asdict(row).items() if value is not None}
            file.write(json.dumps(fields, ensure_ascii=False).encode() + b"\n")


def _read_rows(path: Path, kind: type[Row]) -> list[Row]:
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
        return [kind(**json.loads(line)) for line in lines if line]
    except (OSError, TypeError, ValueError) as error:
        raise CorruptArtifact(f"{path}: {error}; run `dvc repro prepare`") from error
