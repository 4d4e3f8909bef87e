"""Writes what the stage `evaluate` leaves in `results/`: rows, ranks and figures."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from training.data.dataset import Query
from training.evaluate import figures
from training.evaluate.breakdowns import failure_rows
from training.evaluate.fusion import BranchChoice
from training.evaluate.measures import Measures
from training.evaluate.rows import write_json, write_ranks
from training.evaluate.variant import Evaluation
from training.progress import console


def write_results(
    evaluation: Evaluation,
    choice: BranchChoice,
    queries: Sequence[Query],
    served_grid_size: int,
    folder: Path,
) -> None:
    """Writes every file and prints the main table."""
    write_json(metrics(evaluation), folder / "metrics.json")
    write_json(evaluation.study, folder / "evaluation.json")
    write_json(evaluation.lengths, folder / "lengths.json")
    write_json(evaluation.groups, folder / "groups.json")
    write_json(evaluation.localisation, folder / "localisation.json")
    for variant, by_grid in evaluation.ranks.items():
        for grid_size, columns in by_grid.items():
            write_ranks(queries, columns, folder / "ranks" / variant / f"{grid_size}.csv")
    # Of the best variant there is.
    served = [{n: ranks["served"] for n, ranks in v.items()} for v in evaluation.ranks.values()]
    failures = failure_rows(queries, served[-1], served_grid_size) if served else []
    write_json(failures, folder / "failures.json")
    figures.plot_by_grid(evaluation.study, "unit", folder / "grids.svg")
    figures.plot_by_grid(evaluation.study, "pooling", folder / "poolings.svg")
    figures.plot_cost(evaluation.study, folder / "sampling.svg")
    figures.plot_lengths(evaluation.lengths, folder / "lengths.svg")
    figures.plot_groups(evaluation.groups, folder / "groups.svg")
    figures.plot_branches(choice, folder / "branches.svg")
    console.print(table(evaluation))


def publish_training(log: Path, folder: Path) -> None:
    """Copies the training curves to `results/training`.

    Stage `finetune` writes them to build/, so that a demo, which does not evaluate, changes no
    tracked file.
    """
    target = folder / "training"
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(log, target)


def metrics(evaluation: Evaluation) -> dict[str, dict[int, dict[str, float]]]:
    """Returns variant -> N -> measure of what is served."""
    return {
        variant: {n: _recalls(measures) for n, measures in by_grid.items()}
        for variant, by_grid in evaluation.served.items()
    }


def _recalls(measures: Measures) -> dict[str, float]:
    names = ("r1", "r5", "r10", "r100", "sumr")
    values = {name: getattr(measures, name) for name in names}
    return {name: value for name, value in values.items() if value is not None}


def table(evaluation: Evaluation) -> Table:
    """Returns the measures of what is served, as a table to print."""
    result = Table("variant", title="test split, as served")
    for name in ("N", "R@1", "R@5", "R@10", "sum", "mean IoU"):
        result.add_column(name, justify="right")
    overlaps = {(row.variant, row.grid_size): row.mean_iou for row in evaluation.localisation}
    for variant, by_grid in evaluation.served.items():
        for n, found in by_grid.items():
            numbers = (found.r1, found.r5, found.r10, found.sumr, overlaps[variant, n])
            result.add_row(variant, str(n), *(f"{number:.1f}" for number in numbers))
    return result
