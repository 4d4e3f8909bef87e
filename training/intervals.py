"""How sure a number is: bootstrap over queries (Efron, 1979), seeds averaged before.

A query's gain is what it adds to R@1 + R@5 + R@10: 0, 100, 200 or 300. Resampling queries
and averaging seeds asks how the number would move had other queries been written; two
configurations are compared on the same queries, so their difference is resampled in pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qasir.errors import InvalidInput
from qasir.types import Float64, Int64

SELECTION_KS = (1, 5, 10)
RESAMPLES = 4000
CONFIDENCE = 0.95
SEED = 7
# Numbers drawn at a time: bounds the memory that a large split takes.
CHUNK = 1 << 22


@dataclass(frozen=True)
class Interval:
    """A value and its 95 % confidence interval [low, high]."""

    value: float
    low: float
    high: float

    @property
    def reaches_zero(self) -> bool:
        """Whether "at least as good" holds of a difference: its interval is not all negative."""
        return self.high >= 0

    @property
    def above_zero(self) -> bool:
        """Whether "better" holds of a difference."""
        return self.low > 0


def gains(ranks: Int64, ks: Sequence[int] = SELECTION_KS) -> Float64:
    """What every query adds to the sum of R@K over `ks`, in percent: ranks [..., Q] -> [..., Q].

    >>> gains(np.array([1, 7, 90])).tolist()
    [300.0, 100.0, 0.0]
    """
    return np.asarray(sum(100.0 * (ranks <= k) for k in ks), np.float64)


def interval(values: Float64) -> Interval:
    """The mean of values [seeds, Q] or [Q] over seeds and queries, and where it may lie."""
    means = resampled_means(values)
    low, high = np.quantile(means, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return Interval(float(values.mean()), float(low), float(high))


def difference(ours: Float64, theirs: Float64) -> Interval:
    """Mean of `ours` minus mean of `theirs` on the same queries, each [seeds, Q] or [Q].

    The two may have different numbers of seeds.

    Raises:
        InvalidInput: they are not about equally many queries.
    """
    if ours.shape[-1] != theirs.shape[-1]:
        raise InvalidInput(
            f"{ours.shape[-1]} and {theirs.shape[-1]} queries cannot be paired; "
            "measure both on the same split"
        )
    return interval(_seed_mean(ours) - _seed_mean(theirs))


def resampled_means(values: Float64, resamples: int = RESAMPLES) -> Float64:
    """Means of as many queries drawn with replacement, `resamples` times: float64 [resamples].

    Equal inputs give equal draws, so that no result changes from run to run.

    Raises:
        InvalidInput: there is no query to draw.
    """
    mean = _seed_mean(values)
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


def _seed_mean(values: Float64) -> Float64:
    """[seeds, Q] or [Q] -> [Q]."""
    return np.asarray(np.atleast_2d(values).mean(axis=0), np.float64)
