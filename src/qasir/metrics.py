"""Retrieval measures, with pessimistic ties.

rank = the number of videos that score at least as high as the positive one, itself included.
"""

import numpy as np

from qasir.errors import InvalidInput
from qasir.types import Float32, Int64


def ranks(scores: Float32, positives: Int64) -> Int64:
    """Return the pessimistic rank, from 1, of each query's one positive video.

    scores: [Q, V]; positives: int [Q], the positive's column.

    >>> ranks(np.array([[0.1, 0.9, 0.9]], np.float32), np.array([1], np.int64)).tolist()
    [2]

    Raises:
        InvalidInput: a score is NaN, or the shapes do not match.
    """
    if scores.ndim != 2 or positives.shape != scores.shape[:1]:
        raise InvalidInput(
            f"scores {scores.shape} and positives {positives.shape} do not match; "
            "give [Q, V] and [Q]"
        )
    if np.isnan(scores).any():
        raise InvalidInput(
            f"{int(np.isnan(scores).sum())} of {scores.size} scores are NaN; ranks need numbers"
        )
    own = np.take_along_axis(scores, positives[:, None], axis=1)
    return np.asarray((scores >= own).sum(axis=1), np.int64)


def recall_at(query_ranks: Int64, k: int) -> float:
    """Return R@K: 100 x the share of queries whose positive is in the top K.

    >>> recall_at(np.array([1, 7], np.int64), 5)
    50.0
    """
    if len(query_ranks) == 0:
        raise InvalidInput("recall of 0 queries is undefined; give at least one")
    return float(100 * (query_ranks <= k).mean())


def sum_r(query_ranks: Int64, ks: tuple[int, ...] = (1, 5, 10, 100)) -> float:
    """Return SumR: the unrounded sum of R@K over `ks`.

    >>> sum_r(np.array([1, 7], np.int64))
    300.0
    """
    return sum(recall_at(query_ranks, k) for k in ks)
