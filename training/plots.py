"""How every committed picture looks: plain SVG, equal bytes for equal numbers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.measures import Measures

Thing = TypeVar("Thing")

# Okabe and Ito's colours: told apart by everyone.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
GREY = "#9ca3af"
# Zero-shot is dashed wherever both variants share a picture.
LINES = {"zero-shot": "--", "fine-tuned": "-", "hybrid": ":"}
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
RECALLS = (("r1", "R@1", 1), ("r5", "R@5", 5), ("r10", "R@10", 10))
OBJECTIVE = "R@1 + R@5 + R@10"


def styled() -> AbstractContextManager[None]:
    """Inside it, figures are drawn in the house style."""
    return matplotlib.rc_context(STYLE)


def recall_panels(
    draw: Callable[[Axes, str], None], size: Measures, title: str, path: Path
) -> None:
    """Three panels side by side, R@1, R@5 and R@10, each with the recall of pure chance."""
    with styled():
        figure = Figure(figsize=(10.5, 3.8), layout="constrained")
        panels = figure.subplots(1, 3)
        for axes, (measure, label, k) in zip(panels, RECALLS, strict=True):
            draw(axes, measure)
            chance = min(100.0, 100 * k / size.videos)
            axes.axhline(chance, color=GREY, linestyle=":", linewidth=1, label="chance")
            axes.set_title(label, loc="left")
            axes.set_ylim(0, axes.dataLim.y1 * 1.1)
        panels[0].set_ylabel("queries answered, %")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        headline(figure, f"{title} ({size.videos} videos, {size.queries} queries)")
    save(figure, path)


def headline(figure: Figure, title: str) -> None:
    figure.suptitle(title, x=0.01, ha="left")


def colored(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    """Every thing with its colour; colours go round when they run out."""
    return zip(things, cycle(COLORS))


def line(
    axes: Axes, points: Iterable[tuple[float, float]], label: str, color: str, style: str = "-"
) -> None:
    """A line through points in order of x; nothing where there are none."""
    ordered = sorted(points)
    if ordered:
        x, y = zip(*ordered, strict=True)
        axes.plot(x, y, style, marker="o", label=label, color=color)


def plain_ticks(axes: Axes, ticks: Sequence[float], labels: Sequence[str] | None = None) -> None:
    """Ticks where they are asked for and nowhere else."""
    axes.set_xticks(ticks, labels or [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with styled():
        figure.savefig(path, format="svg", metadata={"Date": None})
