"""`qasir tune`: chooses N, R, fps and mode for a budget or a recall, among what was measured."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.markup import escape
from rich.table import Column, Table

from qasir.cli.candidates import Candidate, read_candidates
from qasir.cli.terminal import AsJson, console, find_checkout, print_json
from qasir.errors import InvalidInput, NotFound

RECALLS = (1, 5, 10)
TIME_UNITS = {"ms": 0.001, "s": 1.0, "min": 60.0, "h": 3600.0}
BUDGET = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(ms|s|min|h)\s*(?:per|/)\s*video-hour\s*")


@dataclass(frozen=True)
class TuneGoal:
    """What to tune for: at most so many seconds per video-hour, at least so much recall.

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
        """Whether a candidate costs no more than the goal allows."""
        cheap = self.budget is None or candidate.ingest_seconds <= self.budget
        return cheap and candidate.query_seconds <= self.query_seconds

    def is_reached_by(self, candidate: Candidate) -> bool:
        """Whether a candidate finds as much as the goal asks for."""
        return self.min_recall is None or candidate.recall(self.at) >= self.min_recall


def tune(
    budget: Annotated[
        str | None, typer.Option(help="Most that ingest may cost: '30 s per video-hour'.")
    ] = None,
    min_recall: Annotated[
        float | None, typer.Option(help="Least recall R@K to reach, in percent.")
    ] = None,
    at: Annotated[int, typer.Option(help="K of --min-recall: 1, 5 or 10.")] = 5,
    query_seconds: Annotated[
        float, typer.Option(help="Most seconds that a query in mode hybrid may add.")
    ] = 1.0,
    variant: Annotated[str | None, typer.Option(help="zero-shot or fine-tuned.")] = None,
    results: Annotated[
        Path | None, typer.Option(help="Folder of measured results; default: the checkout's.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Choose grid size, resolution, fps and mode for a budget or a recall, from measurements."""
    goal = TuneGoal(None if budget is None else parse_budget(budget), min_recall, at, query_seconds)
    here = Path.cwd()
    candidates = read_candidates(results or (find_checkout(here) or here) / "results", variant)
    chosen = choose(candidates, goal)
    if as_json:
        print_json({"chosen": asdict(chosen), "candidates": [asdict(c) for c in candidates]})
        return
    console.print(candidates_table(shortlist(candidates, chosen, goal), chosen))
    console.print(f"{chosen}: {expected(chosen)}", soft_wrap=True)
    console.print(escape(how_to_serve(chosen)), soft_wrap=True)


def parse_budget(text: str) -> float:
    """Convert a budget to seconds per hour of video.

    >>> parse_budget("30 s per video-hour"), parse_budget("1.5 min/video-hour")
    (30.0, 90.0)

    Raises:
        InvalidInput: the text has another form, or allows no time at all.
    """
    match = BUDGET.fullmatch(text)
    seconds = float(match[1]) * TIME_UNITS[match[2]] if match else 0.0
    if not seconds:
        raise InvalidInput(
            f"budget '{text}' is not understood; write a number above 0, a unit "
            f"({', '.join(TIME_UNITS)}) and 'per video-hour', for example '30 s per video-hour'"
        )
    return seconds


def choose(candidates: Sequence[Candidate], goal: TuneGoal) -> Candidate:
    """Return the best recall within the budget; without a budget, the cheapest that suffices.

    Raises:
        NotFound: nothing fits; the message names the nearest.
    """
    fitting = [c for c in candidates if goal.affords(c) and goal.is_reached_by(c)]
    if not fitting:
        raise NotFound(_nothing_fits(candidates, goal))
    if goal.budget is None:
        return min(fitting, key=lambda c: (c.cost, -c.quality))
    return max(fitting, key=lambda c: (c.quality, *(-part for part in c.cost)))


def shortlist(
    candidates: Sequence[Candidate], chosen: Candidate, goal: TuneGoal
) -> list[Candidate]:
    """Return what to compare with the chosen one, cheapest first.

    That is the Pareto front of all whose queries are fast enough, whatever their ingest costs.
    """
    fast_enough = (c for c in candidates if c.query_seconds <= goal.query_seconds)
    return sorted({*pareto(fast_enough), chosen}, key=lambda c: c.cost)


def pareto(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Return those that no other one beats in recall at the same cost, cheapest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost, -c.quality)):
        if not front or candidate.quality > front[-1].quality:
            front.append(candidate)
    return front


def expected(candidate: Candidate) -> str:
    """Say what was measured of a candidate."""
    recalls = f"R@1 {candidate.r1:.1f} %, R@5 {candidate.r5:.1f} %, R@10 {candidate.r10:.1f} %"
    cold = f" and {candidate.query_seconds:.2g} s a cold query" if candidate.query_seconds else ""
    return f"{recalls}, for {candidate.ingest_seconds:.3g} s per video-hour{cold}"


def how_to_serve(candidate: Candidate) -> str:
    """Say what to write into params.yaml."""
    n, reranker = candidate.grid_size, candidate.reranker
    grid = f'grids."{n}".resolution {candidate.resolution}, encode.fps {candidate.fps:g}'
    serve = f"serve.grid_sizes [{n}]"
    if candidate.index_unit:
        serve += f", serve.index_unit {candidate.index_unit}"
    if reranker and reranker[0] == candidate.backbone:
        serve += f", serve.hybrid {{grid_size: {reranker[1]}, k: {candidate.k}}}"
    return f"in params.yaml: {grid}, {serve}; then `dvc repro`"


def _nothing_fits(candidates: Sequence[Candidate], goal: TuneGoal) -> str:
    """Name the limits, and the candidate that comes nearest to them."""
    affordable = [c for c in candidates if goal.affords(c)]
    if not affordable:
        nearest = min(candidates, key=lambda c: c.cost)
        return (
            f"nothing ingests a video-hour in {goal.budget:g} s; the cheapest needs "
            f"{nearest.ingest_seconds:.3g} s: {nearest}"
        )
    nearest = max(affordable, key=lambda c: c.recall(goal.at))
    within = "" if goal.budget is None else f" within {goal.budget:g} s per video-hour"
    return (
        f"nothing reaches R@{goal.at} {goal.min_recall:g}{within}; the nearest has "
        f"{nearest.recall(goal.at):.1f}: {nearest}"
    )


def candidates_table(candidates: Sequence[Candidate], chosen: Candidate) -> Table:
    """Show measured configurations, the chosen one marked; readable in 80 columns."""
    right = [Column(name, justify="right") for name in ("N", "R", "fps")]
    costs = [Column(name, justify="right") for name in ("s per video-hour", "s per query")]
    recalls = Column("R@1 / R@5 / R@10", justify="right", no_wrap=True)
    table = Table(
        "", *right, "model and mode", recalls, *costs, box=SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for c in candidates:
        place = (str(c.grid_size), str(c.resolution), f"{c.fps:g}")
        # A hybrid's variant is its mode; the others differ in what the model has learned, too.
        model = c.backbone if c.variant == c.mode else f"{c.variant} {c.backbone}"
        recall = " / ".join(f"{value:.1f}" for value in (c.r1, c.r5, c.r10))
        cost = f"{c.ingest_seconds:.1f}", f"+{c.query_seconds:.2f}" if c.query_seconds else ""
        mark, style = (">", "bold") if c == chosen else ("", None)
        table.add_row(mark, *place, f"{model}, {c.mode_words}", recall, *cost, style=style)
    return table
