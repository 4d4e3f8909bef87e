"""A course as files: DVCLive's, the residual ratios, and one picture.

Nothing here is a clock or a machine: equal trainings leave equal files.
"""

from collections.abc import Sequence
from pathlib import Path

from dvclive import Live
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from training.course import Course, Epoch
from training.plots import GREY, OBJECTIVE, colored, headline, line, save, styled
from training.rows import write_json

CURVES_NAME = "training.svg"
RATIOS_NAME = "residual_ratios.json"


class FileLog(Live):  # type: ignore[misc] # dvclive has no types
    """DVCLive as a writer of files: it asks the repository for an experiment that nobody wants,
    and fails in one without a commit."""

    def _init_dvc(self) -> None:
        """Leave the repository alone."""


class CourseLog:
    """Writes a course to a folder by DVCLive, epoch by epoch, so that others can watch."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._live = FileLog(str(folder), report=None, save_dvc_exp=False, dvcyaml=None)

    def epoch(self, epoch: Epoch) -> None:
        """One more step."""
        self._live.step = epoch.number
        for name, value in _metrics(epoch).items():
            self._live.log_metric(name, value)
        self._live.make_summary()

    def finish(self, course: Course) -> None:
        """Add what is known in the end: the ratios, and a picture of the whole."""
        if course.ratios:
            rows = [{"ratio": r, "objective": value} for r, value in course.ratios.items()]
            write_json(rows, self._folder / RATIOS_NAME)
        plot_course(course.epochs, self._folder / CURVES_NAME)
        self._live.end()


def _metrics(epoch: Epoch) -> dict[str, float]:
    """Numbers of one epoch by the name under which they are plotted."""
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


def plot_course(epochs: Sequence[Epoch], path: Path) -> None:
    """Validation by grid size on the left, the loss on the right."""
    with styled():
        figure = Figure(figsize=(10.5, 3.8), layout="constrained")
        left, right = figure.subplots(1, 2)
        _draw_objectives(left, epochs)
        losses = [(epoch.number, epoch.loss) for epoch in epochs if epoch.loss is not None]
        line(right, losses, "loss", GREY)
        right.set_title("Loss on train", loc="left")
        for axes in (left, right):
            axes.set_xlabel("epoch")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        headline(figure, "Training of the retriever")
    save(figure, path)


def _draw_objectives(axes: Axes, epochs: Sequence[Epoch]) -> None:
    grid_sizes = sorted(epochs[0].objectives)
    for grid_size, color in colored(grid_sizes):
        points = [(epoch.number, epoch.objectives[grid_size]) for epoch in epochs]
        line(axes, points, f"N = {grid_size}", color)
    axes.set_title(f"{OBJECTIVE} on validation", loc="left")
    if grid_sizes:
        axes.legend()
