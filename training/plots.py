"""The committed pictures of a study: plain SVG, equal bytes for equal numbers."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any, TypeVar

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.measures import Measures
from training.study import LengthRow, StudyRow
from training.tau import TauChoice, mean_curve

Thing = TypeVar("Thing")

COLORS = ("#0b6e99", "#d9730d", "#6b7280", "#448361")
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
    "legend.frameon": False,
}
RECALLS = (("r1", "R@1"), ("r5", "R@5"), ("r10", "R@10"))


def plot_poolings(rows: Sequence[StudyRow], path: Path) -> None:
    """Recall against grid size, one line a pooling."""

    def draw(axes: Axes, measure: str) -> None:
        for pooling, color in _colored(("attention", "mean", "max")):
            chosen = _sorted(
                r for r in rows if r.sampling == "super-image" and r.pooling == pooling
            )
            _line(axes, [(r.grid_size, getattr(r, measure)) for r in chosen], pooling, color)
        axes.set_xlabel("grid size N")
        axes.set_xticks(sorted({r.grid_size for r in rows}))

    _save(_panels(draw, rows[0], "Recall against grid size, by pooling"), path)


def plot_sampling(rows: Sequence[StudyRow], path: Path) -> None:
    """Super images against as many single frames, by encodings per video."""

    def draw(axes: Axes, measure: str) -> None:
        for sampling, color in _colored(("super-image", "sparse")):
            # At N = 1 a super image is a frame: both lines start there.
            chosen = _sorted(
                r
                for r in rows
                if r.pooling == "attention" and (r.sampling == sampling or r.grid_size == 1)
            )
            points = [(r.encodes_per_video, getattr(r, measure)) for r in chosen]
            _line(axes, points, "sparse frames" if sampling == "sparse" else "super images", color)
        axes.set_xlabel("encodings per video")
        axes.set_xscale("log")
        counts = {r.grid_size: r.encodes_per_video for r in rows}
        axes.set_xticks(list(counts.values()), [f"{c:.3g}\nN = {n}" for n, c in counts.items()])
        axes.minorticks_off()

    _save(_panels(draw, rows[0], "Super images and sparse frames at equal encodings"), path)


def plot_lengths(rows: Sequence[LengthRow], path: Path) -> None:
    """Recall against the length of the videos, one line a grid size (attention pooling)."""
    known = [r for r in rows if r.pooling == "attention" and r.length != "mixed"]

    def draw(axes: Axes, measure: str) -> None:
        for grid, color in _colored(sorted({r.grid_size for r in known})):
            points = sorted(
                (r.super_images_per_video, getattr(r.measures, measure))
                for r in known
                if r.grid_size == grid
            )
            _line(axes, points, f"N = {grid}", color)
        axes.set_xlabel("super images per video")
        axes.set_xscale("log")
        _plain_ticks(axes, [10, 100, 1000])

    _save(_panels(draw, known[0].measures, "Recall against video length"), path)


def plot_tau(choice: TauChoice, path: Path) -> None:
    """The objective on validation over tau: every grid size, their mean, and the choice."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        axes = figure.subplots()
        for grid, color in _colored(sorted({c.grid_size for c in choice.curves})):
            mean = mean_curve([c for c in choice.curves if c.grid_size == grid])
            _line(axes, sorted(mean.items()), f"N = {grid}", color)
        if choice.curves:
            mean = mean_curve(choice.curves)
            axes.plot(*zip(*sorted(mean.items()), strict=True), "--", color="black", label="mean")
        axes.axvline(choice.tau, color="#9ca3af", linewidth=1)
        axes.set_title(f"Temperature on {choice.chosen_on}: tau = {choice.tau:g}", loc="left")
        axes.set_xlabel("tau")
        axes.set_xscale("log")
        axes.set_ylabel("R@1 + R@5 + R@10, lengthened and mixed")
        _plain_ticks(axes, sorted({tau for c in choice.curves for tau in c.values}))
        if choice.curves:
            axes.legend()
    _save(figure, path)


def _panels(draw: Callable[[Axes, str], None], size: StudyRow | Measures, title: str) -> Figure:
    """Three panels side by side, R@1, R@5 and R@10, each with the recall of pure chance."""
    videos, queries = size.videos, size.queries
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10, 3.6), layout="constrained")
        panels = figure.subplots(1, 3)
        for axes, (measure, label), k in zip(panels, RECALLS, (1, 5, 10), strict=True):
            draw(axes, measure)
            chance = min(100.0, 100 * k / videos)
            axes.axhline(chance, color="#9ca3af", linestyle=":", linewidth=1, label="chance")
            axes.set_title(label, loc="left")
            axes.set_ylim(0, axes.dataLim.y1 * 1.1)
        panels[0].set_ylabel("queries answered, %")
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        figure.suptitle(f"{title} ({videos} videos, {queries} queries)", x=0.01, ha="left")
    return figure


def _colored(things: Sequence[Thing]) -> Iterator[tuple[Thing, str]]:
    return zip(things, cycle(COLORS))  # colours go round when they run out


def _line(axes: Axes, points: Iterable[tuple[float, float]], label: str, color: str) -> None:
    x, y = zip(*points, strict=True)
    axes.plot(x, y, "o-", label=label, color=color)


def _plain_ticks(axes: Axes, ticks: Sequence[float]) -> None:
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()


def _sorted(rows: Iterable[StudyRow]) -> list[StudyRow]:
    return sorted(rows, key=lambda row: row.grid_size)


def _save(figure: Figure, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figure.savefig(path, format="svg", metadata={"Date": None})
