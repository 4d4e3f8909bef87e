"""Groups of queries: half-open buckets, and kinds where a benchmark has them."""

from dataclasses import replace

import numpy as np

from training.groups import group_rows
from training.parts import Part


def test_buckets_are_open_below_and_closed_above(part: Part) -> None:
    ends = [0.0, 1.0, 2.0, 2.1, 4.0, 4.1, 10.0]
    queries = [replace(part.queries[0], start=0.0, end=end) for end in ends]
    asked = replace(part, queries=queries)
    rows = group_rows(asked, "zero-shot", np.ones(len(ends), np.int64), (0.2, 0.4))
    assert [(row.group, row.measures.queries) for row in rows] == [
        ("M/V (0, 0.2]", 2),
        ("M/V (0.2, 0.4]", 2),
        ("M/V (0.4, 1]", 2),
    ]


def test_kinds_are_measured_apart(part: Part) -> None:
    queries = [replace(q, kind="vt" if i < 3 else "t") for i, q in enumerate(part.queries)]
    ranks = np.array([1] * 3 + [9] * 9)
    rows = group_rows(replace(part, queries=queries), "fine-tuned", ranks, (0.2,))
    found = {row.group: (row.measures.queries, row.measures.r1) for row in rows}
    assert found == {"M/V (0, 0.2]": (12, 25.0), "kind t": (9, 0.0), "kind vt": (3, 100.0)}
    assert {row.group: row.objective.value for row in rows}["kind t"] == 100.0
    assert {(row.variant, row.grid_size) for row in rows} == {("fine-tuned", 2)}
