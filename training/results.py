"""Everything the stage `evaluate` leaves in `results/`: rows, ranks and pictures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from qasir.types import Int64
from training import plots
from training.dataset import Query
from training.progress import console
from training.study import GroupRow, LengthRow, StudyRow, write_json, write_ranks
from training.tau import TauChoice

RESULTS = Path("results")


@dataclass(frozen=True)
class Evaluation:
    """What was measured; `ranks` [Q] by grid size and configuration."""

    study: list[StudyRow] = field(default_factory=list)
    lengths: list[LengthRow] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)
    ranks: dict[int, dict[str, Int64]] = field(default_factory=dict)


def write_results(
    evaluation: Evaluation,
    choice: TauChoice,
    queries: Mapping[int, Sequence[Query]],
    folder: Path,
) -> None:
    """Write every file and print the main table."""
    write_json(metrics(evaluation.study), folder / "metrics.json")
    write_json(evaluation.study, folder / "study.json")
    write_json(evaluation.lengths, folder / "lengths.json")
    write_json(evaluation.groups, folder / "groups.json")
    for grid_size, columns in evaluation.ranks.items():
        write_ranks(queries[grid_size], columns, folder / "ranks" / f"{grid_size}.csv")
    plots.plot_poolings(evaluation.study, folder / "poolings.svg")
    plots.plot_sampling(evaluation.study, folder / "sampling.svg")
    plots.plot_lengths(evaluation.lengths, folder / "lengths.svg")
    plots.plot_tau(choice, folder / "tau.svg")
    console.print(table(evaluation.study, choice.tau))


def metrics(rows: Sequence[StudyRow]) -> dict[str, dict[int, dict[str, float]]]:
    """Variant -> N -> measure of super images with attention: what is served."""
    nested: dict[str, dict[int, dict[str, float]]] = {}
    for row in rows:
        if row.sampling == "super-image" and row.pooling == "attention":
            measures = {"r1": row.r1, "r5": row.r5, "r10": row.r10, "r100": row.r100}
            known = {name: value for name, value in measures.items() if value is not None}
            nested.setdefault(row.variant, {})[row.grid_size] = {**known, "sumr": row.sumr}
    return nested


def table(rows: Sequence[StudyRow], tau: float) -> Table:
    """The study as people read it."""
    result = Table(title=f"test split, tau = {tau:g}")
    for name in ("N", "R", "sampling", "pooling", "R@1", "R@5", "R@10", "sum", "encodings"):
        result.add_column(name, justify="left" if name in ("sampling", "pooling") else "right")
    for row in rows:
        measured = (row.r1, row.r5, row.r10, row.sumr, row.encodes_per_video)
        numbers = (f"{value:.1f}" for value in measured)
        names = (str(row.grid_size), str(row.resolution), row.sampling, row.pooling)
        result.add_row(*names, *numbers)
    return result
