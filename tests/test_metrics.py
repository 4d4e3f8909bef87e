"""Measures against a slow, literal reading of the protocol."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from qasir.errors import InvalidInput
from qasir.metrics import ranks, recall_at, sum_r
from qasir.types import Float32

COARSE = st.sampled_from([0.0, 0.25, 0.5, 1.0])


@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 6), st.integers(1, 9)), elements=COARSE))
def test_a_tie_counts_against_us(scores: Float32) -> None:
    positives = np.arange(len(scores)) % scores.shape[1]
    for row, (rank, positive) in enumerate(zip(ranks(scores, positives), positives, strict=True)):
        others = [s for column, s in enumerate(scores[row]) if column != positive]
        assert rank == 1 + sum(s >= scores[row, positive] for s in others)


def test_all_equal_is_last_place() -> None:
    assert ranks(np.zeros((1, 50), np.float32), np.array([3], np.int64)).tolist() == [50]


def test_nan_is_an_error() -> None:
    with pytest.raises(InvalidInput, match="1 of 2 scores are NaN"):
        ranks(np.array([[0.1, np.nan]], np.float32), np.array([0], np.int64))


def test_shapes_must_fit() -> None:
    with pytest.raises(InvalidInput, match="do not match"):
        ranks(np.zeros((2, 3), np.float32), np.array([0], np.int64))


def test_recall_and_sum() -> None:
    found = np.array([1, 5, 6, 101], np.int64)
    assert [recall_at(found, k) for k in (1, 5, 10, 100)] == [25, 50, 75, 75]
    assert sum_r(found) == 225
    with pytest.raises(InvalidInput, match="0 queries"):
        recall_at(np.array([], np.int64), 1)
