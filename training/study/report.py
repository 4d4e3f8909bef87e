"""Writes docs/results.md and the study's figures from the files in results/.

    python -m training.study.report

The same files give the same page. Every number on it comes from them; only explanations are text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
from training.evaluate.rows import StudyRow, read_rows, select
from training.evaluate.scores import POOLINGS, UNITS
from training.outputs import RESULTS
from training.study.outcome import AblationRow, Claim, HybridRow
from training.study.sections import findings, pipeline_sections, recalls, signed, span, table

PAGE = Path("docs/results.md")


def page(folder: Path) -> str:
    """Returns the page as Markdown, from a folder of results."""
    study = read_rows(folder / "study.json", StudyRow)
    claims = read_rows(folder / "differences.json", Claim)
    ablation = read_rows(folder / "ablation.json", AblationRow)
    hybrid = read_rows(folder / "hybrid.json", HybridRow)
    parts = [
        _opening(study[0]),
        findings(claims, hybrid, ablation),
        *_claims(claims),
        *_units(study),
        *_costs(study),
        *_poolings(study),
        *_ablation(ablation),
        *_hybrid(hybrid),
        *pipeline_sections(folder),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(row: StudyRow) -> str:
    return f"""# What the study found

Written by `make study` from the files in [results/](../results); do not edit. Test split of the
corpus `{row.dataset}`: {row.videos} videos, {row.queries} queries, {row.fps:g} fps.
Numbers are R@1 / R@5 / R@10 in percent, or their sum with a {CONFIDENCE:.0%} interval (bootstrap
over queries, after averaging seeds). Trained models have {row.seeds} seeds, which differ little
because training starts from a closed-form fit. Everything is chosen on validation."""


def _claims(rows: Sequence[Claim]) -> Iterator[str]:
    """Lists the claims and whether they hold, then the differences without a claim."""
    claimed = [r for r in rows if r.wanted]
    failed = select(claimed, holds=False)
    lost = (f"- {r.claim} at N = {r.grid_size} ({r.difference.value:+.1f})" for r in failed)
    yield "## What holds, and what does not"
    yield f"{len(claimed) - len(failed)} of {len(claimed)} claims hold. " + (
        "These do not:\n\n" + "\n".join(lost) if failed else "None fails."
    )
    lines = (
        (
            r.claim,
            r.grid_size,
            f"{r.difference.value:+.1f}",
            span(r.difference),
            r.wanted or "no claim",
            "" if not r.wanted else "yes" if r.holds else "**no**",
        )
        for r in rows
    )
    yield table(("claim", "N", "difference", f"{CONFIDENCE:.0%}", "wanted", "holds"), lines)


def _rows(study: Sequence[StudyRow], **facts: Any) -> list[StudyRow]:
    """Selects rows of the first backbone as served, with attention, or with other `facts`."""
    usual = {"recipe": "", "pooling": "attention", "sampling": "super-image"}
    return select(study, **{"backbone": study[0].backbone, **usual, **facts})


def _cost(row: StudyRow) -> tuple[str, str]:
    return f"{row.encodes_per_video:.1f}", f"{row.gmacs_per_video:.1f}"


def _grid(row: StudyRow) -> tuple[int, int]:
    return row.grid_size, row.resolution


def _units(study: Sequence[StudyRow]) -> Iterator[str]:
    lines = []
    for variant in ("zero-shot", "fine-tuned"):
        for row in sorted(_rows(study, variant=variant, unit="both"), key=_grid):
            n, r = _grid(row)
            same = _rows(study, variant=variant, grid_size=n, resolution=r)
            by_unit = (recalls(select(same, unit=unit)[0]) for unit in UNITS)
            lines.append((variant, n, r, *by_unit, *_cost(row)))
    yield "## By unit, N and R"
    yield "Per video: encodings, and 10⁹ multiply-accumulates of the image tower."
    head = ("variant", "N", "R", "super images", "cells", "both", "encodings", "GMACs")
    yield table(head, lines)
    yield "![Recall against N, by unit](../results/units.svg)"


def _costs(study: Sequence[StudyRow]) -> Iterator[str]:
    lines = []
    for facts in ({"sampling": "sparse"}, {"sampling": "low-res", "recipe": "one N"}):
        rows = _rows(study, variant="fine-tuned", unit="super-image", **facts)
        for row in sorted(rows, key=lambda r: (r.grid_size, -r.resolution)):
            lines.append((row.sampling, *_grid(row), recalls(row), *_cost(row)))
    yield "## Against single frames"
    yield (
        "Sparse: frames at N = 1, as many as there are super images at N. Low-res: every "
        "frame at the size of a cell, with a retriever of its own. Fine-tuned."
    )
    yield table(("sampling", "N", "R", "recall", "encodings", "GMACs"), lines)
    yield "![Recall against cost](../results/cost.svg)"


def _poolings(study: Sequence[StudyRow]) -> Iterator[str]:
    lines = []
    for row in sorted(_rows(study, variant="fine-tuned", unit="both"), key=_grid):
        n, r = _grid(row)
        same = {"variant": "fine-tuned", "unit": "both", "grid_size": n, "resolution": r}
        kinds = (_rows(study, pooling=pooling, **same)[0] for pooling in POOLINGS)
        lines.append((n, r, *(recalls(kind) for kind in kinds)))
    yield "## By pooling"
    yield "Fine-tuned, both branches."
    yield table(("N", "R", *POOLINGS), lines)


def _ablation(rows: Sequence[AblationRow]) -> Iterator[str]:
    if not rows:
        return
    grids = sorted({r.grid_size for r in rows})
    cells = {(r.recipe, r.grid_size): signed(r.difference) for r in rows}
    recipes = dict.fromkeys(r.recipe for r in rows)
    yield "## Without each part"
    yield (
        "Sum of recalls minus the served model's. A ratio is the residual ratio of familiar "
        "queries, set by hand."
    )
    lines = ((recipe, *(cells[recipe, n] for n in grids)) for recipe in recipes)
    yield table(("left out or set", *(f"N = {n}" for n in grids)), lines)
    yield "![Ablation](../results/ablation.svg)"


def _hybrid(rows: Sequence[HybridRow]) -> Iterator[str]:
    if not rows:
        return
    yield "## Hybrid"
    yield (
        "The first model ranks everything, the second scores the best k again. Encodings and "
        "GMACs: a cold query over the library, of the finer half alone over everything."
    )
    lines = (
        (
            r.pair,
            r.k,
            recalls(r.measures),
            signed(r.against_fine),
            f"{r.encodings:.0f} of {r.fine_encodings:.0f}",
            f"{r.gmacs:.0f} of {r.fine_gmacs:.0f}",
        )
        for r in rows
    )
    yield table(("hybrid", "k", "recall", "against the finer half", "encodings", "GMACs"), lines)
    yield "![Hybrid search](../results/hybrid.svg)"


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


def write_page(folder: Path) -> None:
    """Writes the page and the figures from the rounded numbers in `folder`."""
    PAGE.write_text(page(folder))
    study = read_rows(folder / "study.json", StudyRow)
    hybrid = read_rows(folder / "hybrid.json", HybridRow)
    plot_cost(study, folder / "cost.svg")
    plot_by_grid(as_served(study), "unit", folder / "units.svg")
    plot_ablation(read_rows(folder / "ablation.json", AblationRow), folder / "ablation.svg")
    plot_hybrid(hybrid, study, folder / "hybrid.svg")


if __name__ == "__main__":
    write_page(RESULTS)
