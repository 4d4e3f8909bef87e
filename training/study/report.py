"""docs/results.md from the files in results/: the same files, the same page.

python -m training.study.report
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from training.results import RESULTS

Row = Mapping[str, Any]
PAGE = Path("docs/results.md")
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
        _bars(read("differences")),
        _units(study),
        _costs(study),
        _poolings(study),
        _ablation(read("ablation")),
        _hybrid(read("hybrid"), study),
        _lengths(read("lengths"), read("groups")),
        _localisation(read("localisation")),
        _clips(read("clips")),
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
                    _range(r, "difference"),
                    r["wanted"] or "only told",
                    "" if not r["wanted"] else "yes" if r["holds"] else "**no**",
                )
                for r in rows
            ),
        ),
    ]
    return "\n\n".join(lines)


def _failed(rows: Sequence[Row]) -> str:
    return (
        "Not so: "
        + "; ".join(f"{r['claim']} at N = {r['grid_size']} ({r['difference']:+.1f})" for r in rows)
        + "."
    )


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
            recalls = [_recalls(found[0]) for found in same]
            cost = (f"{row['encodes_per_video']:.1f}", f"{row['gmacs_per_video']:.1f}")
            rows.append((variant, row["grid_size"], row["resolution"], *recalls, *cost))
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
            rows.append((sampling, r["grid_size"], r["resolution"], _recalls(r), *cost))
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
        rows.append((row["grid_size"], row["resolution"], *(_recalls(k) for k in kinds)))
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
        (recipe, *(_signed(cells[recipe, n], "difference") for n in grids)) for recipe in recipes
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


def _hybrid(rows: Sequence[Row], study: Sequence[Row]) -> str:
    if not rows:
        return ""
    first = rows[0]
    fine = _served(
        study,
        backbone=first["fine_backbone"],
        variant="fine-tuned",
        unit="both",
        grid_size=first["fine_grid_size"],
    )[0]
    lines = (
        (
            r["k"],
            _recalls(r),
            _signed(r, "against_fine"),
            f"{r['encodings']:.0f} of {r['fine_encodings']:.0f}",
            f"{r['gmacs']:.0f} of {r['fine_gmacs']:.0f}",
        )
        for r in rows
    )
    return "\n\n".join(
        (
            "## Hybrid",
            f"`{first['cheap_backbone']}` at N = {first['cheap_grid_size']} ranks all, "
            f"`{first['fine_backbone']}` at N = {first['fine_grid_size']} scores the best k again; "
            f"alone over everything the latter has {_recalls(fine)}. Encodings and GMACs of a cold "
            "query over the library, and of the expensive half alone.",
            table(("k", "recall", "against the expensive half", "encodings", "GMACs"), lines),
            "![Hybrid search](../results/hybrid.svg)",
        )
    )


def _lengths(lengths: Sequence[Row], groups: Sequence[Row]) -> str:
    own = [
        r
        for r in lengths
        if (r["variant"], r["unit"], r["pooling"]) == ("fine-tuned", "both", "attention")
    ]
    names = list(dict.fromkeys(r["length"] for r in own))
    cells = {(r["grid_size"], r["length"]): _recalls(r) for r in own}
    rows = ((n, *(cells[n, name] for name in names)) for n in sorted({r["grid_size"] for r in own}))
    shares = (
        (r["group"], r["grid_size"], r["queries"], _recalls(r))
        for r in groups
        if r["variant"] == "fine-tuned"
    )
    return "\n\n".join(
        (
            "## By length and by M/V",
            "Videos as they are, lengthened to so many super images by unrelated ones, and a third "
            "each (one seed). Length hurts: a long video has more places at which it can look "
            "right by accident.",
            table(("N", *(str(name) for name in names)), rows),
            "![Recall against length](../results/lengths.svg)",
            "Moment length over video length, as served:",
            table(("M/V", "N", "queries", "recall"), shares),
        )
    )


def _localisation(rows: Sequence[Row]) -> str:
    lines = (
        (
            r["variant"],
            r["grid_size"],
            *(f"{r[k]:.1f}" for k in ("mean_iou", "iou3", "iou5", "iou7")),
        )
        for r in rows
    )
    head = ("variant", "N", "mean IoU", "IoU .3", "IoU .5", "IoU .7")
    return (
        "## Where in the video\n\nThe first moment in the right video against the annotated one: "
        "mean temporal IoU, and R@1 at three thresholds, percent.\n\n" + table(head, lines)
    )


def _clips(rows: Sequence[Row]) -> str:
    if not rows:
        return ""
    lines = (
        (
            r["grid_size"],
            f"{r['zero_shot_r1']:.0f} / {r['zero_shot_r5']:.0f}",
            f"{r['fine_tuned_r1']:.0f} / {r['fine_tuned_r5']:.0f}",
            "yes" if r["holds"] else "**no**",
        )
        for r in rows
    )
    clips = rows[0]["clips"]
    return (
        f"## What fine-tuning forgot\n\n{clips} real clips with one sentence each, R@1 / R@5; one "
        f"clip is {100 / clips:g} points. The model was fine-tuned on drawings.\n\n"
        + table(("N", "zero-shot", "fine-tuned", "keeps 90 % of R@5"), lines)
    )


def _recalls(row: Row) -> str:
    return " / ".join(f"{row[name]:.1f}" for name in ("r1", "r5", "r10"))


def _range(row: Row, name: str) -> str:
    return f"{row[f'{name}_low']:+.1f} to {row[f'{name}_high']:+.1f}"


def _signed(row: Row, name: str) -> str:
    return f"{row[name]:+.1f} ({_range(row, name)})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table.

    >>> print(table(("a", "b"), [(1, 2)]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    return "\n".join(_lines(head, rows))


def _lines(head: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield f"| {' | '.join(str(cell) for cell in row)} |"


def main() -> None:
    PAGE.write_text(page(RESULTS))


if __name__ == "__main__":
    main()
