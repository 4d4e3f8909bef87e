"""Localisation: overlap as geometry says, and 0 for what is not there."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qasir.manifest import ScoreFusion
from training.dataset import Query
from training.localisation import localisation_row, overlap, overlaps_of
from training.parts import Part

CELLS = ScoreFusion(super_image_weight=0.0, super_image_tau=0.02, cell_tau=0.02)


def query(start: float, end: float) -> Query:
    return Query("a#enc#0", "a", "a dog", start, end, 100.0)


@given(st.lists(st.integers(0, 60), min_size=4, max_size=4))
def test_overlap_is_the_share_of_common_seconds(times: list[int]) -> None:
    (a, b), (c, d) = sorted(times[:2]), sorted(times[2:])
    ours, theirs = set(range(a, b)), set(range(c, d))
    expected = len(ours & theirs) / len(ours | theirs) if ours & theirs else 0.0
    assert overlap(query(a, b), c, d) == pytest.approx(expected)


def test_a_frame_that_is_asked_for_is_found(part: Part) -> None:
    # Every query of the fixture resembles the frame of the fifth second, [4, 5).
    assert (overlaps_of(part, CELLS) > 0.5).mean() > 0.7


def test_a_video_that_is_missing_overlaps_with_nothing(part: Part) -> None:
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
