"""docs/results.md from the files in results/: the same files, the same page.

python -m training.study.report
"""

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from training.results import RESULTS
from training.study.sections import by_length, forgetting, localisation
from training.study.tables import Row, recalls, signed, span, table

PAGE = Path("docs/results.md")
# What only people can write, beside the numbers it is about.
FINDINGS = Path(__file__).with_name("findings.md")
FAILURES = Path(__file__).with_name("failures.md")
UNITS = ("super-image", "cell", "both")


def page(folder: Path) -> str:
    """The page as Markdown, from a folder of results."""

    def read(name: str) -> list[Row]:
        path = folder / f"{name}.json"
        rows: list[Row] = json.loads(path.read_text()) if path.is_file() else []
        return rows

    study = read("study")
    parts = [
        _opening(study[0]),
        FINDINGS.read_text().strip(),
        _bars(read("differences")),
        _units(study),
        _costs(study),
        _poolings(study),
        _ablation(read("ablation")),
        _hybrid(read("hybrid")),
        by_length(read("lengths"), read("groups")),
        localisation(read("localisation")),
        forgetting(read("clips")),
        FAILURES.read_text().strip(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _opening(row: Row) -> str:
    return f"""# What the study found

Written by `make study` from the files in [results/](../results); do not edit. Test split of the
corpus `{row["dataset"]}`: {row["videos"]} videos, {row["queries"]} queries, {row["fps"]:g} fps.
Numbers are R@1 / R@5 / R@10 in percent, or their sum with a 95 % interval: bootstrap over queries,
seeds averaged before. What is trained is trained on three seeds; on this corpus seeds differ
little, since training starts in closed form. Everything is chosen on validation."""


def _bars(rows: Sequence[Row]) -> str:
    """What was promised, and whether it holds; then what is only told."""
    promised = [r for r in rows if r["wanted"]]
    failed = [r for r in promised if not r["holds"]]
    lines = [
        "## What holds, and what does not",
        f"{len(promised) - len(failed)} of {len(promised)} comparisons come out as wanted. "
        + (_failed(failed) if failed else "None fails."),
        table(
            ("claim", "N", "difference", "95 %", "wanted", "holds"),
            (
                (
                    r["claim"],
                    r["grid_size"],
                    f"{r['difference']:+.1f}",
                    span(r, "difference"),
                    r["wanted"] or "only told",
                    "" if not r["wanted"] else "yes" if r["holds"] else "**no**",
                )
                for r in rows
            ),
        ),
    ]
    return "\n\n".join(lines)


def _failed(rows: Sequence[Row]) -> str:
    lost = (f"{r['claim']} at N = {r['grid_size']} ({r['difference']:+.1f})" for r in rows)
    return "Not so:\n\n" + "\n".join(f"- {claim}" for claim in lost)


def _served(study: Iterable[Row], **wanted: Any) -> list[Row]:
    """Rows of `lite` as served, with attention, that agree with `wanted`."""
    facts = {"backbone": "lite", "recipe": "", "pooling": "attention", "sampling": "super-image"}
    facts |= wanted
    return [r for r in study if all(r[name] == value for name, value in facts.items())]


def _units(study: Sequence[Row]) -> str:
    rows = []
    for variant in ("zero-shot", "fine-tuned"):
        both = _served(study, variant=variant, unit="both")
        for row in sorted(both, key=lambda r: (r["grid_size"], r["resolution"])):
            place = {"variant": variant, "grid_size": row["grid_size"]}
            same = [
                _served(study, **place, unit=unit, resolution=row["resolution"]) for unit in UNITS
            ]
            by_unit = [recalls(found[0]) for found in same]
            cost = (f"{row['encodes_per_video']:.1f}", f"{row['gmacs_per_video']:.1f}")
            rows.append((variant, row["grid_size"], row["resolution"], *by_unit, *cost))
    head = ("variant", "N", "R", "super images", "cells", "both", "encodings", "GMACs")
    return "\n\n".join(
        (
            "## By unit, N and R",
            "Per video: encodings, and 10⁹ multiply-accumulates of the image tower.",
            table(head, rows),
            "![Recall against N, by unit](../results/units.svg)",
        )
    )


def _costs(study: Sequence[Row]) -> str:
    rows = []
    for sampling, unit in (("sparse", "super-image"), ("low-res", "super-image")):
        recipe = "one N" if sampling == "low-res" else ""
        found = _served(study, variant="fine-tuned", sampling=sampling, unit=unit, recipe=recipe)
        for r in sorted(found, key=lambda r: (r["grid_size"], -r["resolution"])):
            cost = (f"{r['encodes_per_video']:.1f}", f"{r['gmacs_per_video']:.1f}")
            rows.append((sampling, r["grid_size"], r["resolution"], recalls(r), *cost))
    return "\n\n".join(
        (
            "## Against single frames",
            "Sparse: frames at N = 1, as few as there are super images at N. Low-res: every frame, "
            "as small as a cell, with a retriever of its own. Fine-tuned.",
            table(("sampling", "N", "R", "recall", "encodings", "GMACs"), rows),
            "![Recall against cost](../results/cost.svg)",
        )
    )


def _poolings(study: Sequence[Row]) -> str:
    rows = []
    for row in _served(study, variant="fine-tuned", unit="both"):
        place = {"grid_size": row["grid_size"], "resolution": row["resolution"]}
        kinds = [
            _served(study, variant="fine-tuned", unit="both", pooling=p, **place)[0]
            for p in ("attention", "mean", "max")
        ]
        rows.append((row["grid_size"], row["resolution"], *(recalls(k) for k in kinds)))
    return "## By pooling\n\nFine-tuned, both branches.\n\n" + table(
        ("N", "R", "attention", "mean", "max"), sorted(rows)
    )


def _ablation(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    grids = sorted({r["grid_size"] for r in rows})
    recipes = list(dict.fromkeys(r["recipe"] for r in rows))
    cells = {(r["recipe"], r["grid_size"]): r for r in rows}
    lines = (
        (recipe, *(signed(cells[recipe, n], "difference") for n in grids)) for recipe in recipes
    )
    return "\n\n".join(
        (
            "## Without each part",
            "Sum of recalls minus the served model's; a ratio is the residual ratio of familiar "
            "queries, set by hand.",
            table(("left out or set", *(f"N = {n}" for n in grids)), lines),
            "![Ablation](../results/ablation.svg)",
        )
    )


def _hybrid(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = (
        (
            r["pair"],
            r["k"],
            recalls(r),
            signed(r, "against_fine"),
            f"{r['encodings']:.0f} of {r['fine_encodings']:.0f}",
            f"{r['gmacs']:.0f} of {r['fine_gmacs']:.0f}",
        )
        for r in rows
    )
    head = ("hybrid", "k", "recall", "against the finer half", "encodings", "GMACs")
    return "\n\n".join(
        (
            "## Hybrid",
            "The first ranks everything, the second scores the best k again. Encodings and GMACs "
            "are of a cold query over the library, and of the finer half alone over everything.",
            table(head, lines),
            "![Hybrid search](../results/hybrid.svg)",
        )
    )


def main() -> None:
    PAGE.write_text(page(RESULTS))


if __name__ == "__main__":
    main()
