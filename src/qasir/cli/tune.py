"""Choose a grid: from a budget or a wanted recall to N, R, fps and mode, by what was measured.

    study.json       recall of every backbone, variant, N and R           `make study`
    hybrid.json      recall where an expensive model re-scores the best   `make study`
    benchmarks.json  seconds to ingest an hour of video, by N and R       `make bench`

Nothing is interpolated: a configuration that was not measured is not proposed.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from qasir.errors import CorruptArtifact, InvalidInput, NotFound

Mode = Literal["fast", "accurate", "hybrid"]

RECALLS = (1, 5, 10)
UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h)\s*(?:per|/)\s*video-hour\s*")
# Of a study's rows, the units that a mode scores with.
MODES: Mapping[str, Mode] = {"super-image": "fast", "cell": "fast", "both": "accurate"}


@dataclass(frozen=True)
class Candidate:
    """One measured way to index and search.

    index_unit: what recall holds, None where the profile's does; ingest_seconds: per hour of
    video; query_seconds: what a cold query adds, where hybrid encodes its best `k` again by
    `fine`, a backbone, N and R.
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
    fine: tuple[str, int, int] | None = None

    def recall(self, at: int) -> float:
        """R@1, R@5 or R@10 in percent."""
        return {1: self.r1, 5: self.r5, 10: self.r10}[at]

    @property
    def quality(self) -> float:
        """R@1 + R@5 + R@10."""
        return self.r1 + self.r5 + self.r10


@dataclass(frozen=True)
class TuneGoal:
    """What is asked for: at most so many seconds per video-hour, at least so much recall.

    query_seconds: what a cold query may cost on top, which only mode hybrid does.
    """

    budget: float | None = None
    min_recall: float | None = None
    at: int = 5
    query_seconds: float = 1.0

    def __post_init__(self) -> None:
        if self.budget is None and self.min_recall is None:
            raise InvalidInput("nothing to tune for; give --budget, --min-recall or both")
        if self.at not in RECALLS:
            measured = ", ".join(map(str, RECALLS))
            raise InvalidInput(f"--at {self.at}: recall was measured at {measured}; choose one")
        if self.min_recall is not None and not 0 <= self.min_recall <= 100:
            raise InvalidInput(
                f"--min-recall {self.min_recall:g} must be between 0 and 100, in percent"
            )

        if not self.query_seconds >= 0:
            raise InvalidInput(f"--query-seconds {self.query_seconds:g} must not be negative")

    def affords(self, candidate: Candidate) -> bool:
        cheap = self.budget is None or candidate.ingest_seconds <= self.budget
        return cheap and candidate.query_seconds <= self.query_seconds

    def contents(self, candidate: Candidate) -> bool:
        return self.min_recall is None or candidate.recall(self.at) >= self.min_recall


def parse_budget(text: str) -> float:
    """Seconds per hour of video.

    >>> parse_budget("30 s per video-hour"), parse_budget("1.5 min/video-hour")
    (30.0, 90.0)

    Raises:
        InvalidInput: the text has another form, or allows no time at all.
    """
    match = BUDGET.fullmatch(text)
    seconds = float(match[1]) * UNITS[match[2]] if match else 0.0
    if not seconds:
        raise InvalidInput(
            f"budget '{text}' is not understood; write a number above 0, a unit "
            f"({', '.join(UNITS)}) and 'per video-hour', for example '30 s per video-hour'"
        )
    return seconds


def choose(candidates: Sequence[Candidate], wish: TuneGoal) -> Candidate:
    """The best recall that the budget affords; where only recall is asked for, the cheapest.

    Raises:
        NotFound: nothing fits; the message names the nearest.
    """
    fitting = [c for c in candidates if wish.affords(c) and wish.contents(c)]
    if not fitting:
        raise NotFound(_nothing_fits(candidates, wish))
    if wish.budget is None:
        return min(fitting, key=lambda c: (_cost(c), -c.quality))
    return max(fitting, key=lambda c: (c.quality, *(-part for part in _cost(c))))


def shortlist(
    candidates: Sequence[Candidate], chosen: Candidate, wish: TuneGoal
) -> list[Candidate]:
    """What is worth comparing with the chosen one, cheapest first: the Pareto front of what no
    query is too slow for, whatever its ingestion costs."""
    quick = (c for c in candidates if c.query_seconds <= wish.query_seconds)
    return sorted({*pareto(quick), chosen}, key=_cost)


def pareto(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that no other one beats in recall without costing more, cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (_cost(c), -c.quality)):
        if not front or candidate.quality > front[-1].quality:
            front.append(candidate)
    return front


def read_candidates(results: Path, variant: str | None = None) -> list[Candidate]:
    """Every configuration that a folder of results holds both recall and seconds of.

    Raises:
        NotFound: a file is missing, or nothing in it was also timed.
        CorruptArtifact: a file holds something else.
    """
    study = _read(results / "study.json", "make study")
    hybrid = _read(results / "hybrid.json", "make study")
    seconds = _ingest_seconds(_read(results / "benchmarks.json", "make bench"))
    try:
        found = [*_searched(study, seconds), *_hybrids(hybrid, seconds)]
    except (KeyError, TypeError) as error:
        raise CorruptArtifact(
            f"{results}: a row of study.json or hybrid.json lacks {error}; run `make study`"
        ) from error
    chosen = [c for c in found if variant in (None, c.variant)]
    if not chosen:
        raise NotFound(
            f"no configuration in {results}{f' of variant {variant}' if variant else ''} was both "
            f"measured and timed; run `make study`, then `python -m benchmarks grids`"
        )
    return chosen


Timings = Mapping[tuple[str, int, int, float], float]


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


def _searched(rows: Iterable[Mapping[str, Any]], seconds: Timings) -> Iterator[Candidate]:
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


def _hybrids(rows: Iterable[Mapping[str, Any]], seconds: Timings) -> Iterator[Candidate]:
    for row in rows:
        cheap, fine = _place(row, "cheap_"), _place(row, "fine_")
        if cheap in seconds and fine in seconds:
            again = row["k"] * row["seconds_per_video"] / 3600 * seconds[fine]
            place = dict(zip(("backbone", "grid_size", "resolution"), cheap, strict=False))
            yield Candidate(
                mode="hybrid",
                index_unit=None,
                ingest_seconds=seconds[cheap],
                query_seconds=again,
                k=row["k"],
                fine=fine[:3],
                **_shared({**row, **place}),
            )


def _shared(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("backbone", "variant", "grid_size", "resolution", "fps", "r1", "r5", "r10")
    return {name: row[name] for name in names}


def _read(path: Path, command: str) -> list[dict[str, Any]]:
    try:
        rows = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise NotFound(f"no {path}; run `{command}`, or point --results elsewhere") from error
    except ValueError as error:
        raise CorruptArtifact(f"{path}: {error}; run `{command}`") from error
    if not isinstance(rows, list):
        raise CorruptArtifact(f"{path} holds no list of rows; run `{command}`")
    return rows


def _cost(candidate: Candidate) -> tuple[float, float]:
    return candidate.ingest_seconds, candidate.query_seconds


def _nothing_fits(candidates: Sequence[Candidate], wish: TuneGoal) -> str:
    """What the limits are, and which candidate comes nearest to them."""
    affordable = [c for c in candidates if wish.affords(c)]
    if not affordable:
        nearest = min(candidates, key=_cost)
        return (
            f"nothing ingests a video-hour in {wish.budget:g} s; the cheapest needs "
            f"{nearest.ingest_seconds:.3g} s: {describe(nearest)}"
        )
    nearest = max(affordable, key=lambda c: c.recall(wish.at))
    within = "" if wish.budget is None else f" within {wish.budget:g} s per video-hour"
    return (
        f"nothing reaches R@{wish.at} {wish.min_recall:g}{within}; the nearest has "
        f"{nearest.recall(wish.at):.1f}: {describe(nearest)}"
    )


def describe(candidate: Candidate) -> str:
    """A configuration in words."""
    what = f"N = {candidate.grid_size}, R = {candidate.resolution}, {candidate.fps:g} fps"
    return f"{what}, mode {mode_of(candidate)}, {candidate.variant} {candidate.backbone}"


def expected(candidate: Candidate) -> str:
    """What was measured of it, for people."""
    recalls = f"R@1 {candidate.r1:.1f} %, R@5 {candidate.r5:.1f} %, R@10 {candidate.r10:.1f} %"
    cold = f" and {candidate.query_seconds:.2g} s a cold query" if candidate.query_seconds else ""
    return f"{recalls}, for {candidate.ingest_seconds:.3g} s per video-hour{cold}"


def how_to_serve(candidate: Candidate) -> str:
    """What to write into params.yaml."""
    n, fine = candidate.grid_size, candidate.fine
    grid = f'grids."{n}".resolution {candidate.resolution}, encode.fps {candidate.fps:g}'
    serve = f"serve.grid_sizes [{n}]"
    if candidate.index_unit:
        serve += f", serve.index_unit {candidate.index_unit}"
    if fine and fine[0] == candidate.backbone:
        serve += f", serve.hybrid {{grid_size: {fine[1]}, k: {candidate.k}}}"
    return f"in params.yaml: {grid}, {serve}; then `dvc repro`"


def mode_of(candidate: Candidate) -> str:
    """The mode with what it needs to know: the unit of its index, or what scores again."""
    if candidate.fine is not None:
        backbone, n, _ = candidate.fine
        again = f"N = {n}" if backbone == candidate.backbone else f"{backbone} at N = {n}"
        return f"{candidate.mode} (best {candidate.k} again by {again})"
    unit = candidate.index_unit
    return candidate.mode if unit is None else f"{candidate.mode} over {unit}s"
