"""Recall of groups of queries: by how long the moment is in its video, and by kind."""

from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from qasir.types import Bool, Int64
from training.dataset import Query
from training.intervals import gains, interval
from training.measures import measure
from training.parts import Part
from training.rows import GroupRow, Variant


def group_rows(
    part: Part, variant: Variant, ranks: Int64, edges: Sequence[float]
) -> list[GroupRow]:
    """Measures of every group that has a query; `edges` cut M/V into buckets."""
    return [
        GroupRow(
            variant,
            part.grid_size,
            name,
            measure(ranks[member], len(part.videos)),
            interval(gains(ranks[member])),
        )
        for name, member in groups(part.queries, edges)
    ]


def groups(queries: Sequence[Query], edges: Sequence[float]) -> list[tuple[str, Bool]]:
    """Names of the groups that have a query, and who is in them: bool [Q]."""
    found = (*_by_ratio(queries, edges), *_by_kind(queries))
    return [(name, member) for name, member in found if member.any()]


def _by_ratio(queries: Sequence[Query], edges: Sequence[float]) -> Iterator[tuple[str, Bool]]:
    """Half-open buckets (low, high] of M/V; a moment of unknown length (M/V = 0) is in none."""
    ratios = np.array([query.moment_ratio for query in queries])
    for low, high in pairwise((0.0, *edges, 1.0)):
        yield f"M/V ({low:g}, {high:g}]", (ratios > low) & (ratios <= high)


def _by_kind(queries: Sequence[Query]) -> Iterator[tuple[str, Bool]]:
    kinds = np.array([query.kind or "" for query in queries])
    for kind in sorted(set(kinds) - {""}):
        yield f"kind {kind}", kinds == kind
