"""Writes docs/results.md and the study's figures from the files in results/.

    python -m training.study.report

The same files give the same page. Every number on it comes from them; only explanations are text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.evaluate.measures import CONFIDENCE
from training.evaluate.rows import StudyRow, read_rows, select
from training.evaluate.scores import POOLINGS, UNITS
from training.outputs import RESULTS
from training.study import plots
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


def write_page(folder: Path) -> None:
    """Writes the page and the figures from the rounded numbers in `folder`."""
    PAGE.write_text(page(folder))
    plots.plot_study(
        read_rows(folder / "study.json", StudyRow),
        read_rows(folder / "ablation.json", AblationRow),
        read_rows(folder / "hybrid.json", HybridRow),
        folder,
    )


if __name__ == "__main__":
    write_page(RESULTS)
