"""Everything the stage `evaluate` leaves in `results/`: rows, ranks and pictures."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.table import Table

from qasir.types import Int64
from training import evaluation_plots as plots
from training.branches import BranchChoice
from training.dataset import Query
from training.measures import Measures
from training.progress import console
from training.rows import (
    GroupRow,
    LengthRow,
    LocalisationRow,
    StudyRow,
    Variant,
    write_json,
    write_ranks,
)

RESULTS = Path("results")


@dataclass(frozen=True)
class Evaluation:
    """What was measured; `served` and `ranks` [Q] of every configuration by variant and N."""

    study: list[StudyRow] = field(default_factory=list)
    lengths: list[LengthRow] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)
    localisation: list[LocalisationRow] = field(default_factory=list)
    served: dict[Variant, dict[int, Measures]] = field(default_factory=dict)
    ranks: dict[Variant, dict[int, dict[str, Int64]]] = field(default_factory=dict)


def write_results(
    evaluation: Evaluation, choice: BranchChoice, queries: Sequence[Query], folder: Path
) -> None:
    """Write every file and print the main table."""
    write_json(metrics(evaluation), folder / "metrics.json")
    write_json(evaluation.study, folder / "evaluation.json")
    write_json(evaluation.lengths, folder / "lengths.json")
    write_json(evaluation.groups, folder / "groups.json")
    write_json(evaluation.localisation, folder / "localisation.json")
    for variant, by_grid in evaluation.ranks.items():
        for grid_size, columns in by_grid.items():
            write_ranks(queries, columns, folder / "ranks" / variant / f"{grid_size}.csv")
    plots.plot_grids(evaluation.study, folder / "grids.svg")
    plots.plot_poolings(evaluation.study, folder / "poolings.svg")
    plots.plot_sampling(evaluation.study, folder / "sampling.svg")
    plots.plot_lengths(evaluation.lengths, folder / "lengths.svg")
    plots.plot_groups(evaluation.groups, folder / "groups.svg")
    plots.plot_branches(choice, folder / "branches.svg")
    console.print(table(evaluation))


def metrics(evaluation: Evaluation) -> dict[str, dict[int, dict[str, float]]]:
    """Variant -> N -> measure of what is served."""
    return {
        variant: {n: _known(measures) for n, measures in by_grid.items()}
        for variant, by_grid in evaluation.served.items()
    }


def _known(measures: Measures) -> dict[str, float]:
    names = ("r1", "r5", "r10", "r100", "sumr")
    values = {name: getattr(measures, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def table(evaluation: Evaluation) -> Table:
    """What is served, as people read it."""
    result = Table("variant", title="test split, as served")
    for name in ("N", "R@1", "R@5", "R@10", "sum", "mean IoU"):
        result.add_column(name, justify="right")
    overlaps = {(row.variant, row.grid_size): row.mean_iou for row in evaluation.localisation}
    for variant, by_grid in evaluation.served.items():
        for n, found in by_grid.items():
            numbers = (found.r1, found.r5, found.r10, found.sumr, overlaps[variant, n])
            result.add_row(variant, str(n), *(f"{number:.1f}" for number in numbers))
    return result
