"""Measured ways to index and search, read from a folder of results.

    study.json       recall of every backbone, variant, N and R           `make study`
    hybrid.json      recall where a reranker scores the best again        `make study`
    benchmarks.json  seconds to ingest an hour of video, by N and R       `make bench`

Nothing is interpolated: a configuration that was not measured is not a candidate.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qasir.errors import CorruptArtifact, NotFound

Mode = Literal["fast", "accurate", "hybrid"]

# The unit of a study's row -> the mode that scores with it.
MODES: Mapping[str, Mode] = {"super-image": "fast", "cell": "fast", "both": "accurate"}

# Backbone, N, R and fps -> seconds.
Timings = Mapping[tuple[str, int, int, float], float]


@dataclass(frozen=True)
class Candidate:
    """One measured way to index and search.

    index_unit: what recall holds, None for the profile's own; ingest_seconds: per hour of video;
    query_seconds: what a cold query adds, where mode hybrid encodes its best `k` again with the
    `reranker`, a backbone, N and R.
    """

    backbone: str
    variant: str
    mode: Mode
    index_unit: str | None
    grid_size: int
    resolution: int
    fps: float
    r1: float
    r5: float
    r10: float
    ingest_seconds: float
    query_seconds: float = 0.0
    k: int | None = None
    reranker: tuple[str, int, int] | None = None

    def recall(self, at: int) -> float:
        """Return R@1, R@5 or R@10 in percent."""
        return {1: self.r1, 5: self.r5, 10: self.r10}[at]

    @property
    def quality(self) -> float:
        """R@1 + R@5 + R@10."""
        return self.r1 + self.r5 + self.r10

    @property
    def cost(self) -> tuple[float, float]:
        """Seconds per video-hour, then seconds per cold query."""
        return self.ingest_seconds, self.query_seconds

    def __str__(self) -> str:
        place = f"N = {self.grid_size}, R = {self.resolution}, {self.fps:g} fps"
        return f"{place}, mode {self.mode_words}, {self.variant} {self.backbone}"

    @property
    def mode_words(self) -> str:
        """The mode with what it needs: the unit of its index, or its reranker."""
        if self.reranker is not None:
            backbone, n, _ = self.reranker
            again = f"N = {n}" if backbone == self.backbone else f"{backbone} at N = {n}"
            return f"{self.mode} (best {self.k} again by {again})"
        return self.mode if self.index_unit is None else f"{self.mode} over {self.index_unit}s"


def read_candidates(results: Path, variant: str | None = None) -> list[Candidate]:
    """Read every configuration of which a folder holds both recall and seconds.

    Raises:
        NotFound: a file is missing, or nothing in it was also timed.
        CorruptArtifact: a file holds something else.
    """
    study = _read(results / "study.json", "make study")
    hybrid = _read(results / "hybrid.json", "make study")
    seconds = _ingest_seconds(_read(results / "benchmarks.json", "make bench"))
    try:
        candidates = [*_of_study(study, seconds), *_of_hybrid(hybrid, seconds)]
    except (KeyError, TypeError) as error:
        raise CorruptArtifact(
            f"{results}: a row of study.json or hybrid.json lacks {error}; run `make study`"
        ) from error
    chosen = [c for c in candidates if variant in (None, c.variant)]
    if not chosen:
        raise NotFound(
            f"no configuration in {results}{f' of variant {variant}' if variant else ''} was both "
            f"measured and timed; run `make study`, then `python -m benchmarks grids`"
        )
    return chosen


def _ingest_seconds(rows: Iterable[Mapping[str, Any]]) -> Timings:
    """Seconds per video-hour by backbone, N, R and fps, from the benchmark `grids`."""
    return {
        _place(row["config"]): float(row["value"])
        for row in rows
        if row.get("unit") == "s per video-hour"
    }


def _place(row: Mapping[str, Any], prefix: str = "") -> tuple[str, int, int, float]:
    names = (f"{prefix}backbone", f"{prefix}grid_size", f"{prefix}resolution")
    backbone, grid_size, resolution = (row[name] for name in names)
    return backbone, grid_size, resolution, float(row["fps"])


def _of_study(rows: Iterable[Mapping[str, Any]], seconds: Timings) -> Iterator[Candidate]:
    for row in rows:
        served = row["sampling"] == "super-image" and row["pooling"] == "attention"
        # At N = 1 a super image is its cell.
        served = served and (row["grid_size"], row["unit"]) != (1, "cell")
        if served and not row["recipe"] and row["unit"] in MODES and _place(row) in seconds:
            yield Candidate(
                mode=MODES[row["unit"]],
                index_unit=None if row["unit"] == "both" else row["unit"],
                ingest_seconds=seconds[_place(row)],
                **_shared(row),
            )


def _of_hybrid(rows: Iterable[Mapping[str, Any]], seconds: Timings) -> Iterator[Candidate]:
    for row in rows:
        recall, reranker = _place(row, "cheap_"), _place(row, "fine_")
        if recall in seconds and reranker in seconds:
            again = row["k"] * row["seconds_per_video"] / 3600 * seconds[reranker]
            place = dict(zip(("backbone", "grid_size", "resolution"), recall, strict=False))
            yield Candidate(
                mode="hybrid",
                index_unit=None,
                ingest_seconds=seconds[recall],
                query_seconds=again,
                k=row["k"],
                reranker=reranker[:3],
                **_shared({**row, **place}),
            )


def _shared(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("backbone", "variant", "grid_size", "resolution", "fps", "r1", "r5", "r10")
    return {name: row[name] for name in names}


def _read(path: Path, command: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"no {path}; run `{command}`, or set --results") from error
    except ValueError as error:
        raise CorruptArtifact(f"{path}: {error}; run `{command}`") from error
    if not isinstance(rows, list):
        raise CorruptArtifact(f"{path} is not a list of rows; run `{command}`")
    return rows
