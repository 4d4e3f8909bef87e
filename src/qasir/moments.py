"""Attention over units to moments: the stretches of a video that answer a query."""

import numpy as np

from qasir.types import Bool, Float32, Float64, Moment

# A unit belongs to a moment while its attention is this far up from the video's average to its
# strongest. Relative to both, so that a high tau, which flattens attention, still shows peaks.
HEIGHT = 0.5


def moments(
    attention: Float32, similarities: Float32, mask: Bool, times: Float64, count: int
) -> list[Moment]:
    """Up to `count` moments, best first, from attention over S super images.

    attention, similarities: [S]; mask: bool [S, N*N]; times: [S, N*N, 2].
    Neighbouring super images that stand out merge, so moments never overlap; a moment's
    score is the best q.v_s inside it.
    """
    average, strongest = attention.mean(), attention.max()
    # The average of equal numbers can round to more than each of them.
    strong = attention >= min(strongest, average + HEIGHT * (strongest - average))
    found = [
        _moment(begin, end, attention, similarities, mask, times) for begin, end in runs(strong)
    ]
    return sorted(found, key=lambda moment: -moment.score)[:count]


def runs(flags: Bool) -> list[tuple[int, int]]:
    """[begin, end) of every stretch of True.

    >>> runs(np.array([True, True, False, True]))
    [(0, 2), (3, 4)]
    """
    steps = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]


def _moment(
    begin: int,
    end: int,
    attention: Float32,
    similarities: Float32,
    mask: Bool,
    times: Float64,
) -> Moment:
    real = times[begin:end][mask[begin:end]]
    return Moment(
        start=float(real[:, 0].min()),
        end=float(real[:, 1].max()),
        score=float(similarities[begin:end].max()),
        super_image=begin + int(attention[begin:end].argmax()),
    )
