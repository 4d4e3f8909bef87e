"""Breaks results down: by video length, by group of queries, by moment, by query."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise

import numpy as np

from qasir.config import EvaluateParams
from qasir.manifest import ScoreFusion
from qasir.moments import moments
from qasir.types import Bool, Float64, Int64
from training.data.dataset import Query
from training.evaluate.corpus import EvalSplit
from training.evaluate.measures import gains, interval, measure
from training.evaluate.rows import FailureRow, GroupRow, LengthRow, LocalisationRow, Variant
from training.evaluate.scores import POOLINGS, UNITS, Pool, Setting, long_pools

IOU_THRESHOLDS = (0.3, 0.5, 0.7)
WORST_QUERIES = 10


def length_rows(
    split: EvalSplit, variant: Variant, fusion: ScoreFusion, params: EvaluateParams
) -> Iterator[LengthRow]:
    """Measures the videos as they are, lengthened, and of mixed lengths."""
    settings = [Setting(unit, "attention", fusion) for unit in UNITS]
    settings += [Setting("super-image", pooling, fusion) for pooling in POOLINGS[1:]]
    pools: list[tuple[int | str, Pool]] = [("natural", split.natural)]
    pools += long_pools(split.videos, split.filler, params.lengths, params.seed)
    for name, pool in pools:
        size = sum(entry.super_images for entry in pool) / len(pool)
        for setting, ranks in zip(settings, split.rank(pool, settings), strict=True):
            yield LengthRow(
                variant,
                split.grid_size,
                setting.unit,
                setting.pooling,
                name,
                size,
                measure(ranks, len(split.videos)),
            )


def group_rows(
    split: EvalSplit, variant: Variant, ranks: Int64, edges: Sequence[float]
) -> list[GroupRow]:
    """Measures every group that has a query; `edges` cut M/V into buckets."""
    return [
        GroupRow(
            variant,
            split.grid_size,
            name,
            measure(ranks[members], len(split.videos)),
            interval(gains(ranks[members])),
        )
        for name, members in _groups(split.queries, edges)
        if members.any()
    ]


def _groups(queries: Sequence[Query], edges: Sequence[float]) -> Iterator[tuple[str, Bool]]:
    """Yields the name of each group and its members, bool [Q].

    Buckets (low, high] of M/V are half-open; a moment of unknown length (M/V = 0) is in none.
    """
    ratios = np.array([query.moment_ratio for query in queries])
    for low, high in pairwise((0.0, *edges, 1.0)):
        yield f"M/V ({low:g}, {high:g}]", (ratios > low) & (ratios <= high)
    kinds = np.array([query.kind or "" for query in queries])
    for kind in sorted(set(kinds) - {""}):
        yield f"kind {kind}", kinds == kind


def localisation_row(variant: Variant, grid_size: int, overlaps: Float64) -> LocalisationRow:
    """Measures the IoU [Q] of all queries."""
    reached = (float(100 * (overlaps >= threshold).mean()) for threshold in IOU_THRESHOLDS)
    return LocalisationRow(
        variant, grid_size, len(overlaps), float(100 * overlaps.mean()), *reached
    )


def overlaps_of(split: EvalSplit, fusion: ScoreFusion) -> Float64:
    """Returns the IoU [Q] of every query's moment and the first one found in its video.

    A query whose video could not be encoded has an IoU of 0.
    """
    overlaps = np.zeros(len(split.queries))
    for row, (query, vector) in enumerate(zip(split.queries, split.query_vectors, strict=True)):
        if video := split.videos.get(query.video_id):
            (first,) = moments(vector, video, fusion, 1)
            overlaps[row] = overlap(query, first.start, first.end)
    return overlaps


def overlap(query: Query, start: float, end: float) -> float:
    """Returns the temporal intersection over union with the annotated moment.

    >>> overlap(Query("a#enc#0", "a", "a dog", 2.0, 6.0, 40.0), 4.0, 8.0)
    0.3333333333333333
    """
    inside = min(query.end, end) - max(query.start, start)
    either = max(query.end, end) - min(query.start, start)
    return max(0.0, inside) / either if either > 0 else 0.0


def failure_rows(
    queries: Sequence[Query], ranks: Mapping[int, Int64], grid_size: int
) -> list[FailureRow]:
    """Returns the queries that rank worst at the served N; `ranks` holds ranks [Q] by N."""
    finest = min(ranks)
    worst = np.argsort(-ranks[grid_size], kind="stable")[:WORST_QUERIES].tolist()
    return [
        FailureRow(
            queries[i].query_id,
            queries[i].text,
            grid_size,
            int(ranks[grid_size][i]),
            finest,
            int(ranks[finest][i]),
        )
        for i in worst
    ]
