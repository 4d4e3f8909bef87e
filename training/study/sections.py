"""Sections of docs/results.md about the model that the pipeline trained and serves."""

from collections.abc import Sequence

from training.study.tables import Row, recalls, table


def by_length(lengths: Sequence[Row], groups: Sequence[Row]) -> str:
    own = [
        r
        for r in lengths
        if (r["variant"], r["unit"], r["pooling"]) == ("fine-tuned", "both", "attention")
    ]
    names = list(dict.fromkeys(r["length"] for r in own))
    cells = {(r["grid_size"], r["length"]): recalls(r) for r in own}
    rows = ((n, *(cells[n, name] for name in names)) for n in sorted({r["grid_size"] for r in own}))
    shares = (
        (r["group"], r["grid_size"], r["queries"], recalls(r))
        for r in groups
        if r["variant"] == "fine-tuned"
    )
    return "\n\n".join(
        (
            "## By length and by M/V",
            "Videos as they are, lengthened to so many super images by ones of train videos, and "
            "a third each (one seed). Length hurts: a long video has more places at which it can "
            "look right, and here often rightly so, as train and test videos show the same "
            "concepts. With 100 super images at N = 2 a video has gained about ten train videos, "
            "some 120 of 400 concepts; with 1,000 nearly all of them.",
            table(("N", *(str(name) for name in names)), rows),
            "![Recall against length](../results/lengths.svg)",
            _recall_units(lengths),
            "Moment length over video length, as served:",
            table(("M/V", "N", "queries", "recall"), shares),
        )
    )


def _recall_units(lengths: Sequence[Row]) -> str:
    """What either unit of an index leaves for the scorer: `serve.index_unit`."""
    own = [
        r
        for r in lengths
        if (r["variant"], r["pooling"]) == ("fine-tuned", "attention")
        and r["length"] in ("natural", "mixed")
    ]
    grids = sorted({r["grid_size"] for r in own if r["grid_size"] > 1})
    found = {(r["grid_size"], r["unit"], r["length"]): f"{r['r10']:.1f}" for r in own}
    places = [(u, length) for length in ("natural", "mixed") for u in ("super-image", "cell")]
    rows = ((n, f"{n * n} times", *(found.get((n, *place), "") for place in places)) for n in grids)
    head = ("N", "vectors", *(f"{unit}s, {length}" for unit, length in places))
    return "\n\n".join(
        (
            "What recall alone finds among the first ten of 60 (R@10), by what the index holds. "
            "Cells leave the scorer more to choose from and are scanned for longer, by as many "
            "times as there are more vectors; the scorer then sees the best 50, which here is "
            "nearly all. So super images are the default, and cells are for large libraries whose "
            "scan is cheap beside a miss, and for mode `fast`.",
            table(head, rows),
        )
    )


def localisation(rows: Sequence[Row]) -> str:
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


def forgetting(rows: Sequence[Row]) -> str:
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
