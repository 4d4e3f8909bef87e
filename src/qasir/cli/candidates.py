"""Measured ways to index and search, read from a folder of results.

    study.json       recall of every backbone, variant, N and R           `make study`
    hybrid.json      recall where a reranker scores the best again        `make study`
    benchmarks.json  seconds to ingest an hour of video, by N and R       `make bench`

Nothing is interpolated: a configuration that was not measured is not a candidate.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qasir.errors import CorruptArtifact, NotFound

# The unit of a study's row -> the mode that scores with it.
MODES = {"super-image": "fast", "cell": "fast", "both": "accurate"}

# Backbone, N, R and fps.
Place = tuple[str, int, int, float]


@dataclass(frozen=True)
class Candidate:
    """One measured way to index and search.

    index_unit: what recall holds, None for the profile's own; ingest_seconds: per hour of video;
    query_seconds: what a cold query adds, where mode hybrid encodes its best `k` again with the
    `reranker`, a backbone, N and R.
    """

    backbone: str
    variant: str
    mode: str
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
    timings = _read(results / "benchmarks.json", "make bench")
    rows = [row for row in timings if row.get("unit") == "s per video-hour"]
    seconds = {_place(row["config"]): float(row["value"]) for row in rows}
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


def _place(row: Mapping[str, Any], prefix: str = "") -> Place:
    names = (f"{prefix}backbone", f"{prefix}grid_size", f"{prefix}resolution")
    backbone, grid_size, resolution = (row[name] for name in names)
    return backbone, grid_size, resolution, float(row["fps"])


def _of_study(
    rows: Iterable[Mapping[str, Any]], seconds: Mapping[Place, float]
) -> Iterator[Candidate]:
    for row in rows:
        served = row["sampling"] == "super-image" and row["pooling"] == "attention"
        # At N = 1 a super image is its cell.
        served = served and (row["grid_size"], row["unit"]) != (1, "cell")
        place = _place(row)
        if served and not row["recipe"] and row["unit"] in MODES and place in seconds:
            unit = None if row["unit"] == "both" else row["unit"]
            yield _candidate(row, MODES[row["unit"]], unit, place, seconds[place])


def _of_hybrid(
    rows: Iterable[Mapping[str, Any]], seconds: Mapping[Place, float]
) -> Iterator[Candidate]:
    for row in rows:
        recall, reranker = _place(row, "cheap_"), _place(row, "fine_")
        if recall in seconds and reranker in seconds:
            again = row["k"] * row["seconds_per_video"] / 3600 * seconds[reranker]
            candidate = _candidate(row, "hybrid", None, recall, seconds[recall])
            yield replace(candidate, query_seconds=again, k=row["k"], reranker=reranker[:3])


def _candidate(
    row: Mapping[str, Any], mode: str, index_unit: str | None, place: Place, seconds: float
) -> Candidate:
    backbone, n, r, fps = place
    r1, r5, r10 = row["r1"], row["r5"], row["r10"]
    variant = row["variant"]
    return Candidate(backbone, variant, mode, index_unit, n, r, fps, r1, r5, r10, seconds)
