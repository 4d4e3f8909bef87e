"""Writes docs/results.md and the study's figures from the files in results/.

    python -m training.study.report

The same files give the same page. Every number on it comes from them; only explanations are text.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from training.evaluate.measures import CONFIDENCE
from training.evaluate.rows import StudyRow, read_rows
from training.evaluate.scores import POOLINGS, UNITS
from training.outputs import RESULTS
from training.study import plots
from training.study.claims import Claim
from training.study.outcome import AblationRow, HybridRow
from training.study.sections import findings, pipeline_sections
from training.study.tables import recalls, signed, span, table

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
        _claims(claims),
        _units(study),
        _costs(study),
        _poolings(study),
        _ablation(ablation),
        _hybrid(hybrid),
        *pipeline_sections(folder),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(row: StudyRow) -> str:
    measures, served = row.measures, row.configuration
    return f"""# What the study found

Written by `make study` from the files in [results/](../results); do not edit. Test split of the
corpus `{served.dataset}`: {measures.videos} videos, {measures.queries} queries, {served.fps:g} fps.
Numbers are R@1 / R@5 / R@10 in percent, or their sum with a {CONFIDENCE:.0%} interval (bootstrap
over queries, after averaging seeds). Trained models have {row.seeds} seeds, which differ little
because training starts from a closed-form fit. Everything is chosen on validation."""


def _claims(rows: Sequence[Claim]) -> str:
    """Lists the claims and whether they hold, then the differences without a claim."""
    claimed = [r for r in rows if r.wanted]
    failed = [r for r in claimed if not r.holds]
    lost = (f"- {r.claim} at N = {r.grid_size} ({r.difference.value:+.1f})" for r in failed)
    lines = [
        "## What holds, and what does not",
        f"{len(claimed) - len(failed)} of {len(claimed)} claims hold. "
        + ("These do not:\n\n" + "\n".join(lost) if failed else "None fails."),
        table(
            ("claim", "N", "difference", f"{CONFIDENCE:.0%}", "wanted", "holds"),
            (
                (
                    r.claim,
                    r.grid_size,
                    f"{r.difference.value:+.1f}",
                    span(r.difference),
                    r.wanted or "no claim",
                    "" if not r.wanted else "yes" if r.holds else "**no**",
                )
                for r in rows
            ),
        ),
    ]
    return "\n\n".join(lines)


def _rows(study: Sequence[StudyRow], **wanted: Any) -> list[StudyRow]:
    """Selects rows of the first backbone as served, with attention, that agree with `wanted`."""
    facts = {
        "backbone": study[0].configuration.backbone,
        "recipe": "",
        "pooling": "attention",
        "sampling": "super-image",
        **wanted,
    }
    return [
        row
        for row in study
        if all(getattr(row.configuration, name) == value for name, value in facts.items())
    ]


def _cost(row: StudyRow) -> tuple[str, str]:
    return f"{row.encodes_per_video:.1f}", f"{row.gmacs_per_video:.1f}"


def _units(study: Sequence[StudyRow]) -> str:
    rows = []
    for variant in ("zero-shot", "fine-tuned"):
        both = _rows(study, variant=variant, unit="both")
        for row in sorted(both, key=lambda r: _grid(r)):
            n, r = _grid(row)
            same = {"variant": variant, "grid_size": n, "resolution": r}
            by_unit = [recalls(_rows(study, **same, unit=unit)[0].measures) for unit in UNITS]
            rows.append((variant, n, r, *by_unit, *_cost(row)))
    head = ("variant", "N", "R", "super images", "cells", "both", "encodings", "GMACs")
    return "\n\n".join(
        (
            "## By unit, N and R",
            "Per video: encodings, and 10⁹ multiply-accumulates of the image tower.",
            table(head, rows),
            "![Recall against N, by unit](../results/units.svg)",
        )
    )


def _grid(row: StudyRow) -> tuple[int, int]:
    return row.configuration.grid_size, row.configuration.resolution


def _costs(study: Sequence[StudyRow]) -> str:
    rows = []
    for sampling, recipe in (("sparse", ""), ("low-res", "one N")):
        found = _rows(
            study, variant="fine-tuned", sampling=sampling, unit="super-image", recipe=recipe
        )
        for row in sorted(found, key=lambda r: (_grid(r)[0], -_grid(r)[1])):
            rows.append((sampling, *_grid(row), recalls(row.measures), *_cost(row)))
    return "\n\n".join(
        (
            "## Against single frames",
            "Sparse: frames at N = 1, as many as there are super images at N. Low-res: every "
            "frame at the size of a cell, with a retriever of its own. Fine-tuned.",
            table(("sampling", "N", "R", "recall", "encodings", "GMACs"), rows),
            "![Recall against cost](../results/cost.svg)",
        )
    )


def _poolings(study: Sequence[StudyRow]) -> str:
    rows = []
    for row in _rows(study, variant="fine-tuned", unit="both"):
        n, r = _grid(row)
        same = {"variant": "fine-tuned", "unit": "both", "grid_size": n, "resolution": r}
        kinds = [_rows(study, pooling=pooling, **same)[0] for pooling in POOLINGS]
        rows.append((n, r, *(recalls(kind.measures) for kind in kinds)))
    return "## By pooling\n\nFine-tuned, both branches.\n\n" + table(
        ("N", "R", *POOLINGS), sorted(rows)
    )


def _ablation(rows: Sequence[AblationRow]) -> str:
    if not rows:
        return ""
    grids = sorted({r.grid_size for r in rows})
    recipes = list(dict.fromkeys(r.recipe for r in rows))
    cells = {(r.recipe, r.grid_size): signed(r.difference) for r in rows}
    lines = ((recipe, *(cells[recipe, n] for n in grids)) for recipe in recipes)
    return "\n\n".join(
        (
            "## Without each part",
            "Sum of recalls minus the served model's. A ratio is the residual ratio of familiar "
            "queries, set by hand.",
            table(("left out or set", *(f"N = {n}" for n in grids)), lines),
            "![Ablation](../results/ablation.svg)",
        )
    )


def _hybrid(rows: Sequence[HybridRow]) -> str:
    if not rows:
        return ""
    head = ("hybrid", "k", "recall", "against the finer half", "encodings", "GMACs")
    return "\n\n".join(
        (
            "## Hybrid",
            "The first model ranks everything, the second scores the best k again. Encodings and "
            "GMACs: a cold query over the library, of the finer half alone over everything.",
            table(head, _hybrid_lines(rows)),
            "![Hybrid search](../results/hybrid.svg)",
        )
    )


def _hybrid_lines(rows: Sequence[HybridRow]) -> Iterator[tuple[object, ...]]:
    for r in rows:
        yield (
            r.pair,
            r.k,
            recalls(r.measures),
            signed(r.against_fine),
            f"{r.encodings:.0f} of {r.fine_encodings:.0f}",
            f"{r.gmacs:.0f} of {r.fine_gmacs:.0f}",
        )


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
