"""Ranks queries, measures recall, and computes confidence intervals.

Ranks and recalls come from `qasir.metrics`. Intervals are bootstrapped over queries (Efron, 1979),
averaging seeds first. A query's gain is its contribution to R@1 + R@5 + R@10: 0, 100, 200 or 300.
Two configurations are compared on the same queries, so their difference is resampled in pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qasir.errors import InvalidInput
from qasir.metrics import ranks, recall_at, sum_r
from qasir.types import Float32, Float64, Int64
from training.data.dataset import Query

SELECTION_KS = (1, 5, 10)
RESAMPLES = 4000
CONFIDENCE = 0.95
SEED = 7
# Numbers drawn at a time: few enough for the cache of a core, which doubles the speed.
CHUNK = 1 << 17


@dataclass(frozen=True)
class Interval:
    """A value and its confidence interval [low, high]."""

    value: float
    low: float
    high: float

    @property
    def reaches_zero(self) -> bool:
        """Returns whether "at least as good" holds of a difference: high >= 0."""
        return self.high >= 0

    @property
    def above_zero(self) -> bool:
        """Returns whether "better" holds of a difference: low > 0."""
        return self.low > 0


def gains(ranks: Int64, ks: Sequence[int] = SELECTION_KS) -> Float64:
    """Returns each query's contribution to the sum of R@K, in percent: [..., Q] -> [..., Q].

    >>> gains(np.array([1, 7, 90])).tolist()
    [300.0, 100.0, 0.0]
    """
    return np.asarray(sum(100.0 * (ranks <= k) for k in ks), np.float64)


def interval(values: Float64) -> Interval:
    """Returns the mean of values [seeds, Q] or [Q] over seeds and queries, with its interval."""
    means = resampled_means(values)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def difference(ours: Float64, theirs: Float64) -> Interval:
    """Returns mean of `ours` minus mean of `theirs` on the same queries, each [seeds, Q] or [Q].

    The two may have different numbers of seeds.

    Raises:
        InvalidInput: their numbers of queries differ.
    """
    if ours.shape[-1] != theirs.shape[-1]:
        raise InvalidInput(
            f"{ours.shape[-1]} and {theirs.shape[-1]} queries cannot be paired; "
            "measure both on the same split"
        )
    ours, theirs = (np.atleast_2d(values).mean(axis=0) for values in (ours, theirs))
    return interval(ours - theirs)


def resampled_means(values: Float64, resamples: int = RESAMPLES) -> Float64:
    """Draws Q queries with replacement `resamples` times; returns their means [resamples].

    Equal inputs give equal draws, so results do not change from run to run.

    Raises:
        InvalidInput: there is no query to draw.
    """
    mean = np.atleast_2d(values).mean(axis=0)
    size = len(mean)
    if not size:
        raise InvalidInput("an interval over 0 queries is undefined; give at least one")
    random = np.random.default_rng(SEED)
    rows = max(1, CHUNK // size)
    parts = [
        mean[random.integers(0, size, (min(rows, resamples - begin), size))].mean(axis=1)
        for begin in range(0, resamples, rows)
    ]
    return np.concatenate(parts)


# The rank of a query whose video could not be encoded: a miss at any K, and still counted.
UNANSWERED = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Measures:
    """Recalls in percent over `queries` queries and `videos` videos.

    R@100 is None in a pool of at most 100 videos; sumr adds up the recalls that exist.
    """

    videos: int
    queries: int
    r1: float
    r5: float
    r10: float
    r100: float | None
    sumr: float


def measure(query_ranks: Int64, videos: int) -> Measures:
    """Measures ranks [Q] in a pool of `videos` videos; for ranks [seeds, Q] returns means.

    >>> measure(np.array([1, 7]), videos=60).sumr
    200.0
    """
    flat = query_ranks.reshape(-1)
    r1, r5, r10 = (recall_at(flat, k) for k in SELECTION_KS)
    large = videos > 100
    r100 = recall_at(flat, 100) if large else None
    sumr = sum_r(flat) if large else objective(flat)
    return Measures(videos, query_ranks.shape[-1], r1, r5, r10, r100, sumr)


def objective(query_ranks: Int64) -> float:
    """Returns what selection maximises: R@1 + R@5 + R@10."""
    return sum_r(query_ranks, SELECTION_KS)


def rank_scores(queries: Sequence[Query], ids: Sequence[str], scores: Float32) -> Int64:
    """Returns the rank [Q] of every query's video by scores [Q, V] of the videos `ids`."""
    column = {video_id: i for i, video_id in enumerate(ids)}
    answered = np.array([query.video_id in column for query in queries])
    positives = np.array([column[q.video_id] for q in queries if q.video_id in column], np.int64)
    result = np.full(len(queries), UNANSWERED, np.int64)
    result[answered] = ranks(scores[answered], positives)
    return result
