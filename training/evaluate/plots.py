"""Styles every committed plot: plain SVG, equal bytes for equal numbers."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluate.measures import Interval

Thing = TypeVar("Thing")

# Okabe and Ito's palette, which colour-blind readers can tell apart.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
GREY = "#9ca3af"
INK = "#374151"
STYLE: dict[Any, object] = {
    "svg.hashsalt": "qasir",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e5e7eb",
    "axes.axisbelow": True,
    "lines.linewidth": 2,
    "lines.markersize": 5,
    "legend.frameon": False,
}
RECALLS = (("r1", "R@1"), ("r5", "R@5"), ("r10", "R@10"))
OBJECTIVE = "R@1 + R@5 + R@10"


def styled() -> AbstractContextManager[None]:
    """Applies the house style to figures drawn in the block."""
    return matplotlib.rc_context(STYLE)


@contextmanager
def new_figure(
    path: Path,
    title: str,
    size: tuple[float, float],
    rows: int,
    columns: int,
    *,
    with_legend: bool = True,
    **shared: Any,
) -> Iterator[Any]:
    """Yields the axes [rows, columns] of a new figure, then titles and saves it.

    The legend of the first panel stands beside all panels.
    """
    with styled():
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False, **shared)
        yield axes
        if with_legend:
            figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside right center")
        headline(figure, title)
    save(figure, path)


def headline(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left")


def colored(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    """Pairs every thing with a colour; colours repeat when they run out."""
    return zip(things, cycle(COLORS))


def line(
    axes: Axes, points: Iterable[tuple[float, float]], label: str, color: str, style: str = "-"
) -> None:
    """Draws a line through points in order of x; without points it draws nothing."""
    ordered = sorted(points)
    if ordered:
        x, y = zip(*ordered, strict=True)
        axes.plot(x, y, style, marker="o", label=label, color=color)


def values_and_errors(intervals: Sequence[Interval]) -> tuple[list[float], list[list[float]]]:
    """Returns values, and the distances of interval ends from them, as matplotlib takes them."""
    values = [i.value for i in intervals]
    return values, [[i.value - i.low for i in intervals], [i.high - i.value for i in intervals]]


def plain_ticks(axes: Axes, ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Draws exactly these ticks on the x axis."""
    axes.set_xticks(ticks, labels or [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with styled():
        figure.savefig(path, format="svg", metadata={"Date": None})
