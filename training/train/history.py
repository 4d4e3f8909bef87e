"""Records a training epoch by epoch: in memory and in log files.

No clock and no machine enters the log files, so equal trainings leave equal files.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean

from dvclive import Live
from matplotlib.ticker import MaxNLocator

from qasir.manifest import ScoreFusion
from training.evaluate.plots import GREY, OBJECTIVE, colored, line, new_figure
from training.evaluate.rows import write_json


@dataclass(frozen=True)
class Epoch:
    """One epoch; number 0 is the start, before any step, and has no loss.

    objectives: R@1 + R@5 + R@10 on validation by grid size, empty without a validation split.
    """

    number: int
    loss: float | None
    objectives: Mapping[int, float]
    branches: Mapping[int, ScoreFusion]
    logit_scale: float

    @property
    def objective(self) -> float | None:
        """Returns the mean over grid sizes, which selects the best epoch."""
        return fmean(self.objectives.values()) if self.objectives else None


@dataclass
class TrainingHistory:
    """All epochs so far; at the end also the objective by residual ratio."""

    epochs: list[Epoch] = field(default_factory=list)
    ratios: dict[float, float] = field(default_factory=dict)
    chosen_ratio: float | None = None

    @property
    def best(self) -> Epoch:
        """Returns the epoch with the best validation, the first of equals; else the last epoch."""
        if self.epochs[-1].objective is None:
            return self.epochs[-1]
        return max(self.epochs, key=lambda epoch: epoch.objective or 0.0)


CURVES_NAME = "training.svg"
RATIOS_NAME = "residual_ratios.json"


class HistoryLog(Live):  # type: ignore[misc] # dvclive has no types
    """Writes a history to a folder, epoch by epoch, so that a training can be watched.

    It makes no DVC experiment, which would need a repository with a commit.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(str(folder), report=None, save_dvc_exp=False, dvcyaml=None)

    def _init_dvc(self) -> None:
        """Skips the repository."""

    def log_epoch(self, epoch: Epoch) -> None:
        self.step = epoch.number
        for name, value in _metrics(epoch).items():
            self.log_metric(name, value)
        self.make_summary()

    def finish(self, history: TrainingHistory) -> None:
        """Adds the residual ratios and a plot of the whole training."""
        folder = Path(self.dir)
        if history.ratios:
            rows = [{"ratio": r, "objective": value} for r, value in history.ratios.items()]
            write_json(rows, folder / RATIOS_NAME)
        plot_history(history.epochs, folder / CURVES_NAME)
        self.end()


def _metrics(epoch: Epoch) -> dict[str, float]:
    """Returns the numbers of one epoch by metric name."""
    values: dict[str, float] = {"logit_scale": epoch.logit_scale}
    if epoch.loss is not None:
        values["loss"] = epoch.loss
    if epoch.objective is not None:
        values["objective/mean"] = epoch.objective
    values |= {f"objective/N{n}": value for n, value in epoch.objectives.items()}
    for grid_size, branches in epoch.branches.items():
        for name, value in branches.model_dump().items():
            values[f"{name}/N{grid_size}"] = value
    return {name: round(value, 4) for name, value in values.items()}


def plot_history(epochs: Sequence[Epoch], path: Path) -> None:
    """Draws validation by grid size on the left and the loss on the right."""
    grid_sizes = sorted(epochs[0].objectives)
    size = (10.5, 3.8)
    with new_figure(path, "Training of the retriever", size, 1, 2, with_legend=False) as panels:
        left, right = panels[0]
        for grid_size, color in colored(grid_sizes):
            points = [(epoch.number, epoch.objectives[grid_size]) for epoch in epochs]
            line(left, points, f"N = {grid_size}", color)
        left.set_title(f"{OBJECTIVE} on validation", loc="left")
        if grid_sizes:
            left.legend()
        losses = [(epoch.number, epoch.loss) for epoch in epochs if epoch.loss is not None]
        line(right, losses, "loss", GREY)
        right.set_title("Loss on train", loc="left")
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
