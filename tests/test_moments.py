"""Attention to moments."""

import numpy as np

from qasir.moments import moments
from qasir.types import Bool, Float64


def grid(count: int, cells: int = 4) -> tuple[Bool, Float64]:
    starts = np.arange(count * cells, dtype=np.float64).reshape(count, cells)
    return np.ones((count, cells), np.bool_), np.stack([starts, starts + 1], -1)


def test_neighbours_merge_and_the_best_comes_first() -> None:
    mask, times = grid(6)
    attention = np.array([0.20, 0.25, 0.01, 0.30, 0.01, 0.23], np.float32)
    similarities = np.array([0.5, 0.6, 0.1, 0.9, 0.1, 0.7], np.float32)
    found = moments(attention, similarities, mask, times, 3)
    assert [(m.start, m.end, m.super_image) for m in found] == [(12, 16, 3), (20, 24, 5), (0, 8, 1)]
    assert [m.score for m in found] == sorted((m.score for m in found), reverse=True)


def test_count_limits() -> None:
    mask, times = grid(5)
    attention = np.array([0.3, 0, 0.3, 0, 0.3], np.float32)
    assert len(moments(attention, attention, mask, times, 2)) == 2


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
