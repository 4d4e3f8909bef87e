"""Pictures of what the stage `evaluate` measured."""

from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.branches import BranchChoice, Knob, mean_curve
from training.plots import (
    GREY,
    LINES,
    OBJECTIVE,
    RECALLS,
    colored,
    headline,
    line,
    plain_ticks,
    recall_panels,
    save,
    styled,
)
from training.rows import GroupRow, LengthRow, StudyRow

UNITS = ("super-image", "cell", "both")
KNOBS: tuple[tuple[Knob, str], ...] = (
    ("super_image_tau", "tau of the super images"),
    ("cell_tau", "tau of the cells"),
    ("super_image_weight", "weight of the super images"),
)


def plot_grids(rows: Sequence[StudyRow], path: Path) -> None:
    """Recall against grid size: a colour a unit, dashed is zero-shot."""
    chosen = [r for r in rows if r.sampling == "super-image" and r.pooling == "attention"]

    def draw(axes: Axes, measure: str) -> None:
        for variant, (shift, (unit, color)) in product(
            _variants(rows), tuple(enumerate(colored(UNITS), start=-1))
        ):
            own = [r for r in chosen if (r.variant, r.unit) == (variant, unit)]
            # Beside each other, or equal ones would hide each other.
            points = [(n + 0.05 * shift, value) for n, value in _points(own, measure)]
            line(axes, points, f"{variant}, {unit}", color, LINES[variant])
        _grid_axis(axes, rows)

    recall_panels(draw, rows[0].measures, "Recall against grid size, by unit", path)


def plot_poolings(rows: Sequence[StudyRow], path: Path) -> None:
    """Recall against grid size, a colour a pooling, over both branches."""
    chosen = [r for r in rows if r.sampling == "super-image" and r.unit == "both"]
    poolings = ("attention", "mean", "max")

    def draw(axes: Axes, measure: str) -> None:
        for variant, (pooling, color) in product(_variants(rows), tuple(colored(poolings))):
            own = (r for r in chosen if (r.variant, r.pooling) == (variant, pooling))
            line(axes, _points(own, measure), f"{variant}, {pooling}", color, LINES[variant])
        _grid_axis(axes, rows)

    recall_panels(draw, rows[0].measures, "Recall against grid size, by pooling", path)


def plot_sampling(rows: Sequence[StudyRow], path: Path) -> None:
    """Super images (both branches) against as many single frames, by encodings per video."""
    attended = [r for r in rows if r.pooling == "attention"]

    def draw(axes: Axes, measure: str) -> None:
        for variant, (sampling, color) in product(
            _variants(rows), tuple(colored(("super-image", "sparse")))
        ):
            # At N = 1 a super image is a frame: both lines start there.
            own = [
                (r.encodes_per_video, getattr(r.measures, measure))
                for r in attended
                if r.variant == variant
                and (r.sampling == sampling or r.grid_size == 1)
                and (r.unit == "both" or r.sampling == "sparse")
            ]
            what = "sparse frames" if sampling == "sparse" else "super images"
            line(axes, own, f"{variant}, {what}", color, LINES[variant])
        axes.set_xlabel("encodings per video")
        axes.set_xscale("log")
        counts = {r.grid_size: r.encodes_per_video for r in rows}
        plain_ticks(axes, list(counts.values()), [f"{c:.3g}\nN={n}" for n, c in counts.items()])

    title = "Super images and sparse frames at equal encodings"
    recall_panels(draw, rows[0].measures, title, path)


def plot_lengths(rows: Sequence[LengthRow], path: Path) -> None:
    """Recall against the length of the videos as served: a row a variant, a colour an N."""
    known = [
        r for r in rows if (r.unit, r.pooling) == ("both", "attention") and r.length != "mixed"
    ]
    variants = _variants(known)
    with styled():
        figure = Figure(figsize=(10.5, 0.8 + 3 * len(variants)), layout="constrained")
        panels = figure.subplots(len(variants), 3, squeeze=False)
        for variant, row in zip(variants, panels, strict=True):
            for axes, (measure, label, _) in zip(row, RECALLS, strict=True):
                _draw_lengths(axes, [r for r in known if r.variant == variant], measure)
                axes.set_title(f"{variant}, {label}", loc="left")
            row[0].set_ylabel("queries answered, %")
        for axes in panels[-1]:
            axes.set_xlabel("super images per video")
        figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside right center")
        headline(figure, "Recall against video length, both branches")
    save(figure, path)


def _draw_lengths(axes: Axes, rows: Sequence[LengthRow], measure: str) -> None:
    for grid, color in colored(sorted({r.grid_size for r in rows})):
        own = [r for r in rows if r.grid_size == grid]
        points = [(r.super_images_per_video, getattr(r.measures, measure)) for r in own]
        line(axes, points, f"N = {grid}", color)
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    plain_ticks(axes, [10, 100, 1000])


def plot_groups(rows: Sequence[GroupRow], path: Path) -> None:
    """R@1 + R@5 + R@10 of every group of queries, as served, with 95 % intervals."""
    names = list(dict.fromkeys(r.group for r in rows))
    with styled():
        variants = _variants(rows)
        figure = Figure(figsize=(4.2 * len(variants) + 1.8, 3.8), layout="constrained")
        panels = figure.subplots(1, len(variants), squeeze=False, sharey=True)[0]
        for axes, variant in zip(panels, variants, strict=True):
            _draw_groups(axes, [r for r in rows if r.variant == variant], names)
            axes.set_title(variant, loc="left")
        panels[0].set_ylabel(OBJECTIVE)
        figure.legend(*panels[0].get_legend_handles_labels(), loc="outside right center")
        headline(figure, "Recall by the moment's share of its video (M/V)")
    save(figure, path)


def _draw_groups(axes: Axes, rows: Sequence[GroupRow], names: Sequence[str]) -> None:
    grids = sorted({r.grid_size for r in rows})
    width = 0.8 / max(1, len(grids))
    for number, (grid, color) in enumerate(colored(grids)):
        own = {r.group: r.objective for r in rows if r.grid_size == grid}
        known = [i for i, name in enumerate(names) if name in own]
        found = [own[names[i]] for i in known]
        places = [i + (number - (len(grids) - 1) / 2) * width for i in known]
        errors = [[f.value - f.low for f in found], [f.high - f.value for f in found]]
        heights = [f.value for f in found]
        axes.bar(places, heights, width, color=color, label=f"N = {grid}")
        axes.errorbar(places, heights, errors, fmt="none", ecolor="#374151", elinewidth=1)
    axes.set_xticks(range(len(names)), [name.replace("M/V ", "") for name in names])
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("moment / video")


def plot_branches(choice: BranchChoice, path: Path) -> None:
    """The objective on validation over each knob of the zero-shot variant, and the choice."""
    with styled():
        figure = Figure(figsize=(10.5, 3.8), layout="constrained")
        panels = figure.subplots(1, len(KNOBS), sharey=True)
        for axes, (knob, label) in zip(panels, KNOBS, strict=True):
            _draw_knob(axes, choice, knob)
            axes.set_xlabel(label)
        panels[0].set_ylabel(OBJECTIVE)
        handles = panels[0].get_legend_handles_labels()
        figure.legend(*handles, loc="outside right center")
        headline(figure, f"Zero-shot branches on {choice.chosen_on}, long pools; chosen: ringed")
    save(figure, path)


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


def _variants(rows: Iterable[StudyRow | LengthRow | GroupRow]) -> list[str]:
    return list(dict.fromkeys(row.variant for row in rows))


def _points(rows: Iterable[StudyRow], measure: str) -> list[tuple[float, float]]:
    return [(row.grid_size, getattr(row.measures, measure)) for row in rows]


def _grid_axis(axes: Axes, rows: Sequence[StudyRow]) -> None:
    axes.set_xlabel("grid size N")
    plain_ticks(axes, sorted({row.grid_size for row in rows}))
