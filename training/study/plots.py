"""Draws the figures of the study from rows; those it shares with `evaluate` are in `figures`."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.evaluate.figures import plot_by_grid, plot_cost, served
from training.evaluate.measures import CONFIDENCE, Interval
from training.evaluate.plots import (
    COLORS,
    INK,
    OBJECTIVE,
    colored,
    errors,
    headline,
    plain_ticks,
    save,
    styled,
)
from training.evaluate.rows import StudyRow
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
    first = study[0].configuration
    grids: dict[int, int] = {}
    for row in study:
        c = row.configuration
        if (c.backbone, c.recipe, c.sampling) == (first.backbone, "", "super-image"):
            grids.setdefault(c.grid_size, c.resolution)
    return [
        row
        for row in study
        if (row.configuration.backbone, row.configuration.recipe) == (first.backbone, "")
        and grids.get(row.configuration.grid_size) == row.configuration.resolution
    ]


def plot_ablation(rows: Sequence[AblationRow], path: Path) -> None:
    """Draws the loss without each part: a panel per N, a bar per part."""
    recipes = list(dict.fromkeys(r.recipe for r in rows))
    grids = sorted({r.grid_size for r in rows})
    with styled():
        figure = Figure(figsize=(11, 0.9 + 0.3 * len(recipes)), layout="constrained")
        panels = figure.subplots(1, len(grids), squeeze=False, sharey=True, sharex=True)[0]
        for axes, (grid, color) in zip(panels, colored(grids), strict=True):
            _draw_ablation(axes, [r for r in rows if r.grid_size == grid], recipes, color)
            axes.set_title(f"N = {grid}", loc="left")
        panels[0].set_yticks(range(len(recipes)), recipes)
        panels[0].invert_yaxis()
        title = f"{OBJECTIVE} less the served model's, {CONFIDENCE:.0%} intervals"
        headline(figure, f"{title} (beyond 10 logarithmic)")
    save(figure, path)


def _draw_ablation(
    axes: Axes, rows: Sequence[AblationRow], recipes: Sequence[str], color: str
) -> None:
    places = [recipes.index(r.recipe) for r in rows]
    values = [r.difference.value for r in rows]
    bars = errors([r.difference for r in rows])
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
    with styled():
        figure = Figure(figsize=(4.2 * len(pairs), 4.2), layout="constrained")
        panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        for axes, pair in zip(panels, pairs, strict=True):
            own = sorted((r for r in rows if r.pair == pair), key=lambda r: r.k)
            places, heights = range(len(own)), [r.objective.value for r in own]
            bars = errors([r.objective for r in own])
            axes.errorbar(places, heights, bars, marker="o", color=COLORS[0], label="hybrid")
            _draw_halves(axes, own[0], study)
            axes.set_xticks(places, [f"{r.k}\n{r.gmacs / r.fine_gmacs:.0%}" for r in own])
            axes.set_title(pair, loc="left")
            axes.set_xlabel("k videos scored again, GMACs")
        # After drawing, because the panels share the axis.
        panels[0].set_ylim(bottom=0)
        panels[0].set_ylabel(OBJECTIVE)
        labels = panels[0].get_legend_handles_labels()
        figure.legend(*labels, loc="outside lower center", ncols=3)
        title = f"Hybrid search, {CONFIDENCE:.0%} intervals"
        headline(figure, f"{title}; GMACs relative to the finer half over all videos")
    save(figure, path)


def _draw_halves(axes: Axes, row: HybridRow, study: Sequence[StudyRow]) -> None:
    """Draws each model alone as a horizontal line."""
    fine = (row.fine_backbone, row.fine_grid_size, row.fine_resolution)
    cheap = (row.cheap_backbone, row.cheap_grid_size, row.cheap_resolution)
    for half, name, color in (
        (fine, "its finer half alone", COLORS[1]),
        (cheap, "its cheaper half alone", COLORS[2]),
    ):
        alone = _alone(half, study)
        axes.axhline(alone.value, color=color, label=name, linewidth=1.5)
        axes.axhspan(alone.low, alone.high, color=color, alpha=0.12)


def _alone(half: tuple[str, int, int], study: Sequence[StudyRow]) -> Interval:
    """Returns the objective of one of a hybrid's two models."""
    return next(
        row.objective
        for row in served(study)
        if row.configuration.variant == "fine-tuned"
        and row.configuration.sampling == "super-image"
        and (
            row.configuration.backbone,
            row.configuration.grid_size,
            row.configuration.resolution,
        )
        == half
    )
