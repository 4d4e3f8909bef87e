"""Attention to moments."""

import numpy as np
import pytest

from qasir.moments import moments
from qasir.scoring import attention
from qasir.types import Bool, Float64


def grid(count: int, cells: int = 4) -> tuple[Bool, Float64]:
    starts = np.arange(count * cells, dtype=np.float64).reshape(count, cells)
    return np.ones((count, cells), np.bool_), np.stack([starts, starts + 1], -1)


def test_neighbours_merge_and_the_best_comes_first() -> None:
    mask, times = grid(6)
    weights = np.array([0.24, 0.25, 0.01, 0.30, 0.01, 0.24], np.float32)
    similarities = np.array([0.5, 0.6, 0.1, 0.9, 0.1, 0.7], np.float32)
    found = moments(weights, similarities, mask, times, 3)
    assert [(m.start, m.end, m.super_image) for m in found] == [(12, 16, 3), (20, 24, 5), (0, 8, 1)]
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)


def test_flat_attention_still_has_a_peak() -> None:
    """At a high tau every unit has nearly the same weight; the best one is the moment."""
    mask, times = grid(5)
    similarities = np.array([0.20, 0.21, 0.30, 0.22, 0.20], np.float32)
    (found,) = moments(attention(similarities, 1.0), similarities, mask, times, 3)
    assert (found.start, found.end, found.super_image) == (8, 12, 2)


@pytest.mark.parametrize("count", [1, 3, 7, 10, 41])
def test_equal_attention_is_one_moment(count: int) -> None:
    mask, times = grid(count)
    weights = np.full(count, 1 / count, np.float32)
    (found,) = moments(weights, weights, mask, times, 3)
    assert (found.start, found.end) == (0, 4 * count)


def test_count_limits() -> None:
    mask, times = grid(5)
    weights = np.array([0.3, 0, 0.3, 0, 0.3], np.float32)
    assert len(moments(weights, weights, mask, times, 2)) == 2


def test_padding_does_not_stretch_a_moment() -> None:
    mask, times = grid(2)
    mask[1, 1:] = False
    times[1, 1:] = 0
    (found,) = moments(np.array([0, 1], np.float32), np.array([0, 1], np.float32), mask, times, 3)
    assert (found.start, found.end) == (4, 5)


def test_one_super_image() -> None:
    mask, times = grid(1)
    (found,) = moments(np.array([1], np.float32), np.array([0.2], np.float32), mask, times, 3)
    assert (found.start, found.end, found.super_image, found.cell) == (0, 4, 0, None)
