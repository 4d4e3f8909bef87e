"""Breakdowns: half-open buckets, kinds, overlap as geometry says it, the worst queries."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qasir.manifest import ScoreFusion
from training.data.dataset import Query
from training.evaluate.corpus import EvalSplit
from training.evaluate.variant import (
    WORST_QUERIES,
    failure_rows,
    group_rows,
    localisation_row,
    overlap,
    overlaps_of,
)

CELLS = ScoreFusion(super_image_weight=0.0, super_image_tau=0.02, cell_tau=0.02)


def query(start: float, end: float) -> Query:
    return Query("a#enc#0", "a", "a dog", start, end, 100.0)


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4))
def test_overlap_is_the_share_of_common_seconds(times: list[int]) -> None:
    (a, b), (c, d) = sorted(times[:2]), sorted(times[2:])
    ours, theirs = set(range(a, b)), set(range(c, d))
    expected = len(ours & theirs) / len(ours | theirs) if ours & theirs else 0.0
    assert overlap(query(a, b), c, d) == pytest.approx(expected)


def test_a_frame_that_is_asked_for_is_found(part: EvalSplit) -> None:
    # Every query of the fixture resembles the frame of the fifth second, [4, 5).
    assert (overlaps_of(part, CELLS) > 0.5).mean() > 0.7


def test_a_video_that_is_missing_overlaps_with_nothing(part: EvalSplit) -> None:
    without = replace(part, videos={k: v for k, v in part.videos.items() if k != "v04"})
    found = overlaps_of(without, CELLS)
    assert found[4] == 0.0
    assert np.array_equal(np.delete(found, 4), np.delete(overlaps_of(part, CELLS), 4))


def test_a_row_counts_the_queries_that_reach_a_threshold() -> None:
    shares = np.array([0.0, 0.29, 0.3, 0.5, 0.69, 0.7, 1.0, 0.1, 0.1, 0.1, 0.1, 0.1])
    row = localisation_row("fine-tuned", 2, shares)
    assert row.mean_iou == pytest.approx(100 * shares.mean())
    assert (row.iou3, row.iou5, row.iou7) == pytest.approx((500 / 12, 400 / 12, 200 / 12))
    assert (row.variant, row.grid_size, row.queries) == ("fine-tuned", 2, 12)


def test_buckets_are_open_below_and_closed_above(part: EvalSplit) -> None:
    ends = [0.0, 1.0, 2.0, 2.1, 4.0, 4.1, 10.0]
    queries = [replace(part.queries[0], start=0.0, end=end) for end in ends]
    asked = replace(part, queries=queries)
    rows = group_rows(asked, "zero-shot", np.ones(len(ends), np.int64), (0.2, 0.4))
    assert [(row.group, row.measures.queries) for row in rows] == [
        ("M/V (0, 0.2]", 2),
        ("M/V (0.2, 0.4]", 2),
        ("M/V (0.4, 1]", 2),
    ]


def test_kinds_are_measured_apart(part: EvalSplit) -> None:
    queries = [replace(q, kind="vt" if i < 3 else "t") for i, q in enumerate(part.queries)]
    ranks = np.array([1] * 3 + [9] * 9)
    rows = group_rows(replace(part, queries=queries), "fine-tuned", ranks, (0.2,))
    found = {row.group: (row.measures.queries, row.measures.r1) for row in rows}
    assert found == {"M/V (0, 0.2]": (12, 25.0), "kind t": (9, 0.0), "kind vt": (3, 100.0)}
    assert {row.group: row.objective.value for row in rows}["kind t"] == 100.0
    assert {(row.variant, row.grid_size) for row in rows} == {("fine-tuned", 2)}


def test_the_worst_queries_come_with_their_text_and_both_ranks(part: EvalSplit) -> None:
    served, finest = np.arange(1, 13), np.full(12, 7)
    rows = failure_rows(part.queries, {1: finest, 2: served}, 2)
    assert len(rows) == WORST_QUERIES
    assert [row.rank for row in rows] == list(range(12, 2, -1))
    assert (rows[0].query_id, rows[0].text) == ("v11#enc#0", "about v11")
    assert {(row.grid_size, row.finest_grid_size, row.finest_rank) for row in rows} == {(2, 1, 7)}
