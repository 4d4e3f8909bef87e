"""Draws the figures of stage `evaluate`; the study draws its rows with the same functions."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from matplotlib.axes import Axes

from training.evaluate.fusion import BranchChoice, Knob, mean_curve
from training.evaluate.measures import CONFIDENCE, SELECTION_KS
from training.evaluate.plots import (
    GREY,
    INK,
    OBJECTIVE,
    RECALLS,
    colored,
    line,
    new_figure,
    plain_ticks,
    values_and_errors,
)
from training.evaluate.rows import GroupRow, LengthRow, StudyRow, select
from training.evaluate.scores import POOLINGS, UNITS

KNOBS: tuple[tuple[Knob, str], ...] = (
    ("super_image_tau", "tau of the super images"),
    ("cell_tau", "tau of the cells"),
    ("super_image_weight", "weight of the super images"),
)
VARIANTS = ("fine-tuned", "zero-shot")
# Label, whether by the backbone of the first row, sampling and marker.
SERIES = (
    ("super images", True, "super-image", "o"),
    ("super images, larger model", False, "super-image", "D"),
    ("sparse frames", True, "sparse", "s"),
    ("low-resolution frames", True, "low-res", "^"),
)
ENCODES = "encodings per video"
COSTS = ("GMACs per video", ENCODES)


def plot_by_grid(rows: Sequence[StudyRow], by: Literal["unit", "pooling"], path: Path) -> None:
    """Draws recall against N with intervals: a panel per variant, a line per unit or pooling."""
    names = UNITS if by == "unit" else POOLINGS
    fixed = {"pooling": "attention"} if by == "unit" else {"unit": "both"}
    own = select(rows, sampling="super-image", **fixed)
    videos, size = rows[0].videos, f"{rows[0].videos} videos, {rows[0].queries} queries"
    title = f"Recall against grid size, by {by}, {CONFIDENCE:.0%} intervals ({size})"
    # Of a random ranking.
    chance = sum(min(100.0, 100 * k / videos) for k in SELECTION_KS)
    with new_figure(path, title, (10.5, 4), 1, len(VARIANTS)) as panels:
        for axes, variant in zip(panels[0], VARIANTS, strict=True):
            # Shifted, so that equal lines do not hide each other.
            for shift, (name, color) in enumerate(colored(names), start=-1):
                chosen = select(own, variant=variant, **{by: name})
                ordered = sorted(chosen, key=lambda r: r.grid_size)
                x = [r.grid_size + 0.06 * shift for r in ordered]
                y, bars = values_and_errors([r.objective for r in ordered])
                axes.errorbar(x, y, bars, marker="o", color=color, label=name)
            axes.axhline(chance, color=GREY, linestyle=":", linewidth=1, label="chance")
            axes.set_title(variant, loc="left")
            axes.set_xlabel("grid size N")
            plain_ticks(axes, sorted({r.grid_size for r in own}))
            axes.set_ylim(bottom=0)
        panels[0, 0].set_ylabel(OBJECTIVE)


def served(rows: Iterable[StudyRow]) -> list[StudyRow]:
    """Selects configurations as they would be served, and the frames they are compared with."""
    return [
        r
        for r in rows
        if r.pooling == "attention"
        and (r.unit == "both" or r.sampling == "sparse")
        and (not r.recipe or r.sampling == "low-res")
    ]


def plot_cost(rows: Sequence[StudyRow], path: Path) -> None:
    """Draws recall against cost with the Pareto front: a row per variant, a column per cost."""
    title = f"Recall against cost, {CONFIDENCE:.0%} intervals; N and R on the front"
    with new_figure(path, title, (11, 8.2), len(VARIANTS), len(COSTS), sharey="row") as panels:
        for variant, row in zip(VARIANTS, panels, strict=True):
            for axes, cost in zip(row, COSTS, strict=True):
                _draw_cost(axes, select(served(rows), variant=variant), cost)
                axes.set_xlabel(cost)
                axes.set_title(variant, loc="left")
            row[0].set_ylabel(OBJECTIVE)


def cost_of(row: StudyRow, cost: str) -> float:
    return row.encodes_per_video if cost == ENCODES else row.gmacs_per_video


def _draw_cost(axes: Axes, rows: Sequence[StudyRow], cost: str) -> None:
    axes.set_xscale("log")
    for (label, is_first, sampling, marker), color in colored(SERIES):
        same = select(rows, sampling=sampling)
        own = [r for r in same if (r.backbone == rows[0].backbone) is is_first]
        if own:
            x = [cost_of(r, cost) for r in own]
            y, bars = values_and_errors([r.objective for r in own])
            axes.errorbar(x, y, bars, fmt=marker, color=color, label=label, elinewidth=1, alpha=0.9)
    front = pareto(rows, cost)
    for number, row in enumerate(front):
        # N and R, above and below in turn so that none overlap.
        above = number % 2 == 0
        axes.annotate(
            f"{row.grid_size}, {row.resolution}",
            (cost_of(row, cost), row.objective.value),
            xytext=(-4, 4) if above else (4, -11),
            textcoords="offset points",
            fontsize=8,
            ha="right" if above else "left",
            color=INK,
        )
    points = [cost_of(r, cost) for r in front], [r.objective.value for r in front]
    axes.plot(*points, color=GREY, linewidth=1.2, zorder=0, label="Pareto front")
    axes.set_ylim(bottom=0)
    costs = [cost_of(r, cost) for r in rows] or [1.0]
    # Room for the names of the cheapest.
    axes.set_xlim(left=min(costs) / 2.5)
    ticks = (0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)
    plain_ticks(axes, [t for t in ticks if min(costs) / 2 <= t <= max(costs) * 2])


def pareto(rows: Iterable[StudyRow], cost: str) -> list[StudyRow]:
    """Returns the rows that no row of equal or lower cost beats, cheapest first."""
    front: list[StudyRow] = []
    for row in sorted(rows, key=lambda r: (cost_of(r, cost), -r.objective.value)):
        if not front or row.objective.value > front[-1].objective.value:
            front.append(row)
    return front


def plot_lengths(rows: Sequence[LengthRow], path: Path) -> None:
    """Draws recall against video length as served: a row per variant, a colour per N."""
    chosen = [r for r in select(rows, unit="both", pooling="attention") if r.length != "mixed"]
    variants = list(dict.fromkeys(r.variant for r in chosen))
    title, size = "Recall against video length, both branches", (10.5, 0.8 + 3 * len(variants))
    with new_figure(path, title, size, len(variants), len(RECALLS)) as panels:
        for variant, row in zip(variants, panels, strict=True):
            for axes, (measure, label) in zip(row, RECALLS, strict=True):
                _draw_lengths(axes, select(chosen, variant=variant), measure)
                axes.set_title(f"{variant}, {label}", loc="left")
            row[0].set_ylabel("queries answered, %")
        for axes in panels[-1]:
            axes.set_xlabel("super images per video")


def _draw_lengths(axes: Axes, rows: Sequence[LengthRow], measure: str) -> None:
    for grid, color in colored(sorted({r.grid_size for r in rows})):
        own = select(rows, grid_size=grid)
        points = [(r.super_images_per_video, getattr(r.measures, measure)) for r in own]
        line(axes, points, f"N = {grid}", color)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    plain_ticks(axes, [10, 100, 1000])


def plot_groups(rows: Sequence[GroupRow], path: Path) -> None:
    """Draws R@1 + R@5 + R@10 of every group of queries, as served, with intervals."""
    names = list(dict.fromkeys(r.group for r in rows))
    variants = list(dict.fromkeys(r.variant for r in rows))
    title, width = "Recall by the moment's share of its video (M/V)", 4.2 * len(variants) + 1.8
    with new_figure(path, title, (width, 3.8), 1, len(variants), sharey=True) as panels:
        for axes, variant in zip(panels[0], variants, strict=True):
            _draw_groups(axes, select(rows, variant=variant), names)
            axes.set_title(variant, loc="left")
        panels[0, 0].set_ylabel(OBJECTIVE)


def _draw_groups(axes: Axes, rows: Sequence[GroupRow], names: Sequence[str]) -> None:
    grids = sorted({r.grid_size for r in rows})
    width = 0.8 / max(1, len(grids))
    for number, (grid, color) in enumerate(colored(grids)):
        own = select(rows, grid_size=grid)
        shift = (number - (len(grids) - 1) / 2) * width
        places = [names.index(r.group) + shift for r in own]
        heights, bars = values_and_errors([r.objective for r in own])
        axes.bar(places, heights, width, color=color, label=f"N = {grid}")
        axes.errorbar(places, heights, bars, fmt="none", ecolor=INK, elinewidth=1)
    axes.set_xticks(range(len(names)), [name.replace("M/V ", "") for name in names])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("moment / video")


def plot_branches(choice: BranchChoice, path: Path) -> None:
    """Draws the zero-shot objective on validation over each knob, and rings the choice."""
    title = f"Zero-shot branches on {choice.chosen_on}, long pools; chosen: ringed"
    with new_figure(path, title, (10.5, 3.8), 1, len(KNOBS), sharey=True) as panels:
        for axes, (knob, label) in zip(panels[0], KNOBS, strict=True):
            _draw_knob(axes, choice, knob)
            axes.set_xlabel(label)
        panels[0, 0].set_ylabel(OBJECTIVE)


def _draw_knob(axes: Axes, choice: BranchChoice, knob: Knob) -> None:
    curves = [c for c in choice.curves if c.knob == knob]
    for grid, color in colored(sorted({c.grid_size for c in curves})):
        mean = mean_curve([c for c in curves if c.grid_size == grid])
        line(axes, mean.items(), f"N = {grid}", color)
        chosen = getattr(choice.branches[grid], knob)
        axes.plot(chosen, mean[chosen], "o", markersize=11, markerfacecolor="none", color=color)
    if curves and knob != "super_image_weight":
        axes.set_xscale("log")
        plain_ticks(axes, sorted({value for c in curves for value in c.values}))
        axes.tick_params(axis="x", labelrotation=60)
    axes.axhline(0, color=GREY, linewidth=0)
