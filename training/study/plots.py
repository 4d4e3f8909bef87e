"""Draws the figures of the study from rows; those it shares with `evaluate` are in `figures`."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes

from training.evaluate.figures import plot_by_grid, plot_cost, served
from training.evaluate.measures import CONFIDENCE
from training.evaluate.plots import (
    COLORS,
    INK,
    OBJECTIVE,
    colored,
    new_figure,
    plain_ticks,
    values_and_errors,
)
from training.evaluate.rows import StudyRow, select
from training.study.outcome import AblationRow, HybridRow


def plot_study(
    study: Sequence[StudyRow],
    ablation: Sequence[AblationRow],
    hybrid: Sequence[HybridRow],
    folder: Path,
) -> None:
    """Draws every figure of the study into a folder."""
    plot_cost(study, folder / "cost.svg")
    plot_by_grid(as_served(study), "unit", folder / "units.svg")
    plot_ablation(ablation, folder / "ablation.svg")
    plot_hybrid(hybrid, study, folder / "hybrid.svg")


def as_served(study: Sequence[StudyRow]) -> list[StudyRow]:
    """Selects super images at the served N and R: the grids of the study's first trial."""
    own = select(study, backbone=study[0].backbone, recipe="")
    grids: dict[int, int] = {}
    for row in select(own, sampling="super-image"):
        grids.setdefault(row.grid_size, row.resolution)
    return [row for row in own if grids.get(row.grid_size) == row.resolution]


def plot_ablation(rows: Sequence[AblationRow], path: Path) -> None:
    """Draws the loss without each part: a panel per N, a bar per part."""
    recipes = list(dict.fromkeys(r.recipe for r in rows))
    grids = sorted({r.grid_size for r in rows})
    title = f"{OBJECTIVE} less the served model's, {CONFIDENCE:.0%} intervals"
    title, size = f"{title} (beyond 10 logarithmic)", (11, 0.9 + 0.3 * len(recipes))
    shared = {"sharey": True, "sharex": True, "with_legend": False}
    with new_figure(path, title, size, 1, len(grids), **shared) as panels:
        for axes, (grid, color) in zip(panels[0], colored(grids), strict=True):
            _draw_ablation(axes, select(rows, grid_size=grid), recipes, color)
            axes.set_title(f"N = {grid}", loc="left")
        panels[0, 0].set_yticks(range(len(recipes)), recipes)
        panels[0, 0].invert_yaxis()


def _draw_ablation(
    axes: Axes, rows: Sequence[AblationRow], recipes: Sequence[str], color: str
) -> None:
    places = [recipes.index(r.recipe) for r in rows]
    values, bars = values_and_errors([r.difference for r in rows])
    axes.barh(places, values, color=color, height=0.7)
    axes.errorbar(values, places, xerr=bars, fmt="none", ecolor=INK, elinewidth=1)
    axes.axvline(0, color=INK, linewidth=0.8)
    # Linear within ten points: most parts are worth little, two nearly everything.
    axes.set_xscale("symlog", linthresh=10)
    plain_ticks(axes, (-100, -10, 0, 10))
    axes.grid(visible=False, axis="y")


def plot_hybrid(rows: Sequence[HybridRow], study: Sequence[StudyRow], path: Path) -> None:
    """Draws hybrid recall against k and cost: a panel per pair."""
    pairs = list(dict.fromkeys(r.pair for r in rows))
    title = f"Hybrid search, {CONFIDENCE:.0%} intervals"
    title = f"{title}; GMACs relative to the finer half over all videos"
    shared = {"sharey": True, "with_legend": False}
    with new_figure(path, title, (4.2 * len(pairs), 4.2), 1, len(pairs), **shared) as panels:
        for axes, pair in zip(panels[0], pairs, strict=True):
            own = sorted(select(rows, pair=pair), key=lambda r: r.k)
            places = range(len(own))
            heights, bars = values_and_errors([r.objective for r in own])
            axes.errorbar(places, heights, bars, marker="o", color=COLORS[0], label="hybrid")
            _draw_halves(axes, own[0], study)
            axes.set_xticks(places, [f"{r.k}\n{r.gmacs / r.fine_gmacs:.0%}" for r in own])
            axes.set_title(pair, loc="left")
            axes.set_xlabel("k videos scored again, GMACs")
        first = panels[0, 0]
        # After drawing, because the panels share the axis.
        first.set_ylim(bottom=0)
        first.set_ylabel(OBJECTIVE)
        labels = first.get_legend_handles_labels()
        first.figure.legend(*labels, loc="outside lower center", ncols=3)


def _draw_halves(axes: Axes, row: HybridRow, study: Sequence[StudyRow]) -> None:
    """Draws each model alone as a horizontal line."""
    tuned = select(served(study), variant="fine-tuned", sampling="super-image")
    for half, name, color in (("fine", "finer", COLORS[1]), ("cheap", "cheaper", COLORS[2])):
        facts = ("backbone", "grid_size", "resolution")
        same = {fact: getattr(row, f"{half}_{fact}") for fact in facts}
        alone = select(tuned, **same)[0].objective
        axes.axhline(alone.value, color=color, label=f"its {name} half alone", linewidth=1.5)
        axes.axhspan(alone.low, alone.high, color=color, alpha=0.12)
