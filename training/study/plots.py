"""Pictures of the study, from the rows that stand in `results/`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.plots import COLORS, GREY, OBJECTIVE, colored, headline, plain_ticks, save, styled

Row = Mapping[str, Any]

INK = "#374151"
VARIANTS = ("fine-tuned", "zero-shot")
# What an encoding is of: label, backbone, sampling, marker.
SERIES = (
    ("super images", "lite", "super-image", "o"),
    ("super images, larger model", "lite2", "super-image", "D"),
    ("sparse frames", "lite", "sparse", "s"),
    ("low-resolution frames", "lite", "low-res", "^"),
)
COSTS = (("gmacs_per_video", "GMACs per video"), ("encodes_per_video", "encodings per video"))


def served(rows: Iterable[Row]) -> list[Row]:
    """Configurations as they would be served, and what they are compared with: both branches of
    super images, single frames as they are."""
    return [
        row
        for row in rows
        if row["pooling"] == "attention"
        and (row["unit"] == "both" or row["sampling"] == "sparse")
        and (not row["recipe"] or row["sampling"] == "low-res")
    ]


def plot_cost(rows: Sequence[Row], path: Path) -> None:
    """Recall against cost with the Pareto front: a row a variant, a column a cost."""
    known = served(rows)
    with styled():
        figure = Figure(figsize=(11, 8.2), layout="constrained")
        panels = figure.subplots(len(VARIANTS), len(COSTS), sharey="row")
        for variant, line in zip(VARIANTS, panels, strict=True):
            for axes, (cost, label) in zip(line, COSTS, strict=True):
                _draw_cost(axes, [r for r in known if r["variant"] == variant], cost)
                axes.set_xlabel(label)
                axes.set_title(variant, loc="left")
            line[0].set_ylabel(OBJECTIVE)
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right center")
        headline(
            figure, "Recall against cost, 95 % intervals; N and R of what no cheaper one reaches"
        )
    save(figure, path)


def _draw_cost(axes: Axes, rows: Sequence[Row], cost: str) -> None:
    axes.set_xscale("log")
    for (label, backbone, sampling, marker), color in colored(SERIES):
        own = [r for r in rows if (r["backbone"], r["sampling"]) == (backbone, sampling)]
        if own:
            x, y = [r[cost] for r in own], [r["objective"] for r in own]
            axes.errorbar(
                x, y, _errors(own), fmt=marker, color=color, label=label, elinewidth=1, alpha=0.9
            )
    front = pareto(rows, cost)
    for number, row in enumerate(front):
        _name(axes, row, cost, above=number % 2 == 0)
    points = [r[cost] for r in front], [r["objective"] for r in front]
    axes.plot(*points, color=GREY, linewidth=1.2, zorder=0, label="Pareto front")
    axes.set_ylim(bottom=0)
    # Room for the names of the cheapest.
    axes.set_xlim(left=min((r[cost] for r in rows), default=1.0) / 2.5)
    ticks = (1, 2, 5, 10, 20, 50) if cost == "encodes_per_video" else (0.2, 0.5, 1, 2, 5, 10, 20)
    costs = [r[cost] for r in rows]
    plain_ticks(axes, [t for t in ticks if costs and min(costs) / 2 <= t <= max(costs) * 2])


def _name(axes: Axes, row: Row, cost: str, *, above: bool) -> None:
    """Write N and R above and left of a point of the front, where no point can be, or below and
    right: neighbours in turn, so that their names do not meet."""
    axes.annotate(
        f"{row['grid_size']}, {row['resolution']}",
        (row[cost], row["objective"]),
        xytext=(-4, 4) if above else (4, -11),
        textcoords="offset points",
        fontsize=8,
        ha="right" if above else "left",
        color=INK,
    )


def pareto(rows: Iterable[Row], cost: str) -> list[Row]:
    """Rows that no cheaper or equally dear one reaches, cheapest first.

    >>> rows = [{"c": 1, "objective": 5.0}, {"c": 2, "objective": 4.0}]
    >>> pareto(rows, "c") == rows[:1]
    True
    """
    front: list[Row] = []
    for row in sorted(rows, key=lambda r: (r[cost], -r["objective"])):
        if not front or row["objective"] > front[-1]["objective"]:
            front.append(row)
    return front


def plot_units(rows: Sequence[Row], grids: Mapping[int, int], path: Path) -> None:
    """Recall against N at the served R, by unit, with intervals."""
    own = [
        r
        for r in rows
        if r["pooling"] == "attention"
        and (r["sampling"], r["backbone"], r["recipe"]) == ("super-image", "lite", "")
        and grids.get(r["grid_size"]) == r["resolution"]
    ]
    with styled():
        figure = Figure(figsize=(10.5, 4), layout="constrained")
        panels = figure.subplots(1, len(VARIANTS))
        for axes, variant in zip(panels, VARIANTS, strict=True):
            for shift, (unit, color) in enumerate(colored(("super-image", "cell", "both"))):
                chosen = [r for r in own if (r["variant"], r["unit"]) == (variant, unit)]
                chosen = sorted(chosen, key=lambda r: int(r["grid_size"]))
                x = [r["grid_size"] + (shift - 1) * 0.06 for r in chosen]
                y = [r["objective"] for r in chosen]
                axes.errorbar(x, y, _errors(chosen), marker="o", color=color, label=unit)
            axes.set_title(variant, loc="left")
            axes.set_xlabel("grid size N")
            plain_ticks(axes, sorted(grids))
            axes.set_ylim(bottom=0)
        panels[0].set_ylabel(OBJECTIVE)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        headline(figure, "Recall against grid size, by unit, 95 % intervals")
    save(figure, path)


def plot_ablation(rows: Sequence[Row], path: Path) -> None:
    """What is lost without each part: a panel an N, a bar a part."""
    recipes = list(dict.fromkeys(r["recipe"] for r in rows))
    grids = sorted({r["grid_size"] for r in rows})
    with styled():
        figure = Figure(figsize=(11, 0.9 + 0.3 * len(recipes)), layout="constrained")
        panels = figure.subplots(1, len(grids), squeeze=False, sharey=True, sharex=True)[0]
        for axes, grid, color in zip(panels, grids, COLORS, strict=False):
            _draw_ablation(axes, [r for r in rows if r["grid_size"] == grid], recipes, color)
            axes.set_title(f"N = {grid}", loc="left")
        panels[0].set_yticks(range(len(recipes)), recipes)
        panels[0].invert_yaxis()
        headline(
            figure, f"{OBJECTIVE} less the served model's, 95 % intervals (beyond 10 logarithmic)"
        )
    save(figure, path)


def _draw_ablation(axes: Axes, rows: Sequence[Row], recipes: Sequence[str], color: str) -> None:
    places = [recipes.index(r["recipe"]) for r in rows]
    values = [r["difference"] for r in rows]
    errors = [
        [r["difference"] - r["difference_low"] for r in rows],
        [r["difference_high"] - r["difference"] for r in rows],
    ]
    axes.barh(places, values, color=color, height=0.7)
    axes.errorbar(values, places, xerr=errors, fmt="none", ecolor=INK, elinewidth=1)
    axes.axvline(0, color=INK, linewidth=0.8)
    # Straight within ten points, logarithmic beyond: most parts are worth little, two nearly all.
    axes.set_xscale("symlog", linthresh=10)
    plain_ticks(axes, (-100, -10, 0, 10))
    axes.grid(visible=False, axis="y")


def plot_hybrid(rows: Sequence[Row], study: Sequence[Row], path: Path) -> None:
    """A cheap model ranks all, an expensive one its best k: a panel a pair, with the cost."""
    pairs = list(dict.fromkeys(r["pair"] for r in rows))
    with styled():
        figure = Figure(figsize=(4.2 * len(pairs), 4.2), layout="constrained")
        panels = figure.subplots(1, len(pairs), sharey=True, squeeze=False)[0]
        for axes, pair in zip(panels, pairs, strict=True):
            own = sorted((r for r in rows if r["pair"] == pair), key=lambda r: int(r["k"]))
            places, heights = range(len(own)), [r["objective"] for r in own]
            axes.errorbar(
                places, heights, _errors(own), marker="o", color=COLORS[0], label="hybrid"
            )
            _draw_halves(axes, own[0], study)
            costs = (f"{r['k']}\n{100 * r['gmacs'] / r['fine_gmacs']:.0f} %" for r in own)
            axes.set_xticks(places, list(costs))
            axes.set_title(pair, loc="left")
            axes.set_xlabel("k videos scored again, GMACs")
        # Once all is drawn: the panels share it.
        panels[0].set_ylim(bottom=0)
        panels[0].set_ylabel(OBJECTIVE)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
        headline(
            figure, "Hybrid search, 95 % intervals; GMACs in percent of the finer half's over all"
        )
    save(figure, path)


def _draw_halves(axes: Axes, row: Row, study: Sequence[Row]) -> None:
    """Either model alone, as a line across."""
    for half, color in (("fine", COLORS[1]), ("cheap", COLORS[2])):
        alone = _half(row, half, study)
        name = "its finer half alone" if half == "fine" else "its cheaper half alone"
        axes.axhline(alone["objective"], color=color, label=name, linewidth=1.5)
        axes.axhspan(alone["objective_low"], alone["objective_high"], color=color, alpha=0.12)


def _half(row: Row, half: str, study: Sequence[Row]) -> Row:
    """The study's row of one of a hybrid's two models."""
    wanted = tuple(row[f"{half}_{name}"] for name in ("backbone", "grid_size", "resolution"))
    return next(
        r
        for r in served(study)
        if r["variant"] == "fine-tuned"
        and r["sampling"] == "super-image"
        and (r["backbone"], r["grid_size"], r["resolution"]) == wanted
    )


def _errors(rows: Sequence[Row]) -> list[list[float]]:
    """Distances of the interval's ends from the value, as matplotlib takes them."""
    return [
        [r["objective"] - r["objective_low"] for r in rows],
        [r["objective_high"] - r["objective"] for r in rows],
    ]
