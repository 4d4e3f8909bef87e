"""Writes the prose of docs/results.md: the main differences, and the model that is served.

Every number comes from the rows; only explanations are text.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from qasir.config import CANDIDATES
from training.evaluate.measures import Interval, Measures
from training.evaluate.rows import (
    FailureRow,
    GroupRow,
    LengthRow,
    LocalisationRow,
    read_rows,
    select,
)
from training.study.clips import KEPT_SHARE, ClipsRow
from training.study.outcome import AblationRow, Claim, HybridRow

COMMENTS = Path(__file__).with_name("failures.yaml")
# A claim, and the sentences about its differences by N.
EXPLAINED = (
    (
        "super images over sparse frames, equal encodings",
        "Super images against as many single frames: {by_grid}. Super images pay where encodings "
        "are scarce: frames that lie further apart than a moment lasts miss whole moments.",
    ),
    (
        "every frame over sparse frames",
        "Every frame at full size against those sparse frames: {by_grid}. This bounds what super "
        "images can gain, and smaller cells lose part of it.",
    ),
    (
        "super images over low-resolution frames, equal compute",
        "Super images against every frame at low resolution, equal multiply-accumulates, a "
        "specialist on either side: {by_grid}. For a convolutional tower a grid saves calls, not "
        "arithmetic. A ViT with one input size, which cannot read low resolutions, was not "
        "measured.",
    ),
    (
        "cells over whole pictures",
        "Cells against whole pictures: {by_grid}. Where validation gives whole pictures no "
        'weight, "both branches" are the cells, and their claim holds by exactly zero.',
    ),
    (
        "one checkpoint over a specialist",
        "One checkpoint for every N against a specialist: {by_grid}. Frames at the smallest N "
        "teach the shared checkpoint where in a video a caption looks.",
    ),
)


def findings(
    claims: Sequence[Claim], hybrid: Sequence[HybridRow], ablation: Sequence[AblationRow]
) -> str:
    """Returns the main differences as Markdown."""
    lines = []
    for name, text in EXPLAINED:
        if rows := select(claims, claim=name):
            values = (f"{row.difference.value:+.1f} at N = {row.grid_size}" for row in rows)
            lines.append(text.format(by_grid=", ".join(values)))
    for pair in dict.fromkeys(row.pair for row in hybrid):
        # The smallest k from which the hybrid is as good as its finer half.
        enough = next(r for r in select(hybrid, pair=pair) if r.against_fine.reaches_zero)
        lines.append(
            f"Hybrid search with {pair} is as good as its finer half from k = {enough.k} of "
            f"{enough.measures.videos} videos on, at {enough.encodings / enough.fine_encodings:.0%}"
            f" of the encodings and {enough.gmacs / enough.fine_gmacs:.0%} of the GMACs."
        )
    if ablation:
        recipes = dict.fromkeys(row.recipe for row in ablation)
        kept = {row.recipe for row in ablation if row.difference.high >= 0}
        lost = [recipe for recipe in recipes if recipe not in kept]
        lines.append(
            f"Recall falls significantly at every N with: {', '.join(lost)}. No other change to "
            "the training lowers it at every N."
        )
    return "## In plain words\n\n" + "\n".join(f"- {line}" for line in lines)


def pipeline_sections(folder: Path) -> Iterator[str]:
    """Yields the paragraphs as Markdown, from a folder of results."""
    lengths = read_rows(folder / "lengths.json", LengthRow)
    yield from _by_length(lengths, read_rows(folder / "groups.json", GroupRow))
    yield from _recall_units(lengths)
    yield from _localisation(read_rows(folder / "localisation.json", LocalisationRow))
    yield from _forgetting(read_rows(folder / "clips.json", ClipsRow))
    failures = read_rows(folder / "failures.json", FailureRow)
    yield from _failures(failures, yaml.safe_load(COMMENTS.read_text()))


def _by_length(lengths: Sequence[LengthRow], groups: Sequence[GroupRow]) -> Iterator[str]:
    own = select(lengths, variant="fine-tuned", unit="both", pooling="attention")
    names = list(dict.fromkeys(r.length for r in own))
    cells = {(r.grid_size, r.length): recalls(r.measures) for r in own}
    rows = ((n, *(cells[n, name] for name in names)) for n in sorted({r.grid_size for r in own}))
    yield "## By length and by M/V"
    yield (
        "Unchanged videos, videos lengthened to so many super images by ones of train videos, "
        "and an even mix of these (one seed). Length lowers recall: a long video has more "
        "places that resemble a query. Here it is often a true match, because train and test "
        "videos show the same concepts."
    )
    yield table(("N", *(str(name) for name in names)), rows)
    yield "![Recall against length](../results/lengths.svg)"
    yield "By moment length over video length (M/V), as served:"
    tuned = select(groups, variant="fine-tuned")
    shares = ((r.group, r.grid_size, r.measures.queries, recalls(r.measures)) for r in tuned)
    yield table(("M/V", "N", "queries", "recall"), shares)


def _recall_units(lengths: Sequence[LengthRow]) -> Iterator[str]:
    """Compares the two values of `serve.index_unit`."""
    pools = ("natural", "mixed")
    tuned = select(lengths, variant="fine-tuned", pooling="attention")
    own = [r for r in tuned if r.length in pools]
    if not own:
        return
    grids = sorted({r.grid_size for r in own if r.grid_size > 1})
    cells = {(r.grid_size, str(r.unit), r.length): f"{r.measures.r10:.1f}" for r in own}
    places = [(u, length) for length in pools for u in ("super-image", "cell")]
    rows = ((n, f"{n * n} times", *(cells.get((n, *place), "") for place in places)) for n in grids)
    yield "## Super images or cells in the index"
    yield (
        f"R@10 of recall alone among {own[0].measures.videos} videos. An index of cells finds "
        "more, holds more vectors and takes as many times longer to scan. The scorer then "
        f"sees the best {CANDIDATES} videos. So super images are the default; cells suit mode "
        "`fast`, and large libraries where a miss costs more than the scan."
    )
    yield table(("N", "vectors", *(f"{unit}s, {length}" for unit, length in places)), rows)


def _localisation(rows: Sequence[LocalisationRow]) -> Iterator[str]:
    yield "## Where in the video"
    yield (
        "The first moment found in the right video against the annotated "
        "one: mean temporal IoU, and R@1 at three thresholds, percent."
    )
    lines = (
        (r.variant, r.grid_size, *(f"{v:.1f}" for v in (r.mean_iou, r.iou3, r.iou5, r.iou7)))
        for r in rows
    )
    yield table(("variant", "N", "mean IoU", "IoU .3", "IoU .5", "IoU .7"), lines)


def _forgetting(rows: Sequence[ClipsRow]) -> Iterator[str]:
    if not rows:
        return
    clips = rows[0].clips
    yield "## What fine-tuning forgot"
    yield (
        f"{clips} real clips with one sentence each, R@1 / R@5; one "
        f"clip is {100 / clips:g} points. The model was fine-tuned on drawings."
    )
    lines = (
        (
            r.grid_size,
            f"{r.zero_shot_r1:.0f} / {r.zero_shot_r5:.0f}",
            f"{r.fine_tuned_r1:.0f} / {r.fine_tuned_r5:.0f}",
            "yes" if r.holds else "**no**",
        )
        for r in rows
    )
    yield table(("N", "zero-shot", "fine-tuned", f"keeps {KEPT_SHARE:.0%} of R@5"), lines)


def _failures(rows: Sequence[FailureRow], comments: Mapping[str, str]) -> Iterator[str]:
    if not rows:
        return
    yield "## Queries that rank badly"
    yield (
        "The worst queries as served, with a comment where a person "
        "has looked at the frames. Most name a concept that is rare in training, or a name that "
        "several drawings share; a few show what a cell is too small for."
    )
    ranks = (f"rank at N = {n}" for n in (rows[0].grid_size, rows[0].finest_grid_size))
    lines = ((r.text, r.rank, r.finest_rank, comments.get(r.text, "")) for r in rows)
    yield table(("query", *ranks, "what the frames show"), lines)


def recalls(measures: Measures) -> str:
    return f"{measures.r1:.1f} / {measures.r5:.1f} / {measures.r10:.1f}"


def span(interval: Interval) -> str:
    return f"{interval.low:+.1f} to {interval.high:+.1f}"


def signed(interval: Interval) -> str:
    return f"{interval.value:+.1f} ({span(interval)})"


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Formats a Markdown table.

    >>> print(table(("a", "b"), [(1, 2)]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [f"| {' | '.join(str(cell) for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", "|" + "---|" * len(head), *lines])
