"""Attention over the frames of a video to moments: the stretches that answer a query.

Each real cell is a frame, so moments are as exact as the sampling. A frame is as similar to
the query as its cell and its super image are, mixed as the branches of the score are: the
cell says which frame, the super image what its neighbours show.
"""

from dataclasses import replace

import numpy as np

from qasir.manifest import ScoreFusion
from qasir.scoring import attention, blend
from qasir.types import Float32, Float64, Moment
from qasir.vectors import VideoVectors, to_float32

# A moment earns what its frames' attention has above this height, from the video's average (0)
# to its strongest frame (1), and pays for what they lack: so a short gap is bridged where both
# sides are worth it. Relative to both, so that a high tau, which flattens attention, still
# shows peaks. Chosen on the demo's validation videos, as they are and lengthened.
HEIGHT = 0.15


def moments(query: Float32, video: VideoVectors, branches: ScoreFusion, count: int) -> list[Moment]:
    """Up to `count` moments of a video for a unit query [D], best first, never overlapping.

    A moment's score is the similarity of its strongest frame, which `super_image`, `cell`
    and `peak` name.
    """
    similarities = frame_similarities(query, video, branches)
    found = stretches(heights(frame_attention(similarities, branches)), count)
    return [_moment(begin, end, similarities, video) for begin, end in found]


def frame_similarities(query: Float32, video: VideoVectors, branches: ScoreFusion) -> Float32:
    """How similar the F real cells and their super images are to a unit query [D], float32 [F]."""
    similarities = to_float32(video.embeddings) @ query
    whole = np.broadcast_to(similarities[:, :1], video.mask.shape)
    return blend(whole[video.mask], similarities[:, 1:][video.mask], branches)


def frame_attention(similarities: Float32, branches: ScoreFusion) -> Float32:
    """The attention that frames of these similarities [F] get, float32 [F], 1 in all."""
    weight = branches.super_image_weight
    return attention(
        similarities, weight * branches.super_image_tau + (1 - weight) * branches.cell_tau
    )


def heights(weights: Float32) -> Float64:
    """How far attention [F] is above HEIGHT, as a share of the way from average to strongest.

    >>> heights(np.array([0, 0, 1], np.float32)).round(2).tolist()
    [-0.65, -0.65, 0.85]
    """
    average, strongest = float(weights.mean()), float(weights.max())
    if strongest <= average:
        # The average of equal numbers can round to more than each of them.
        return np.full(len(weights), 1 - HEIGHT)
    return (weights.astype(np.float64) - average) / (strongest - average) - HEIGHT


def stretches(values: Float64, count: int) -> list[tuple[int, int]]:
    """Up to `count` disjoint stretches [begin, end) with the largest sums, all above 0.

    Greedily: the largest of all, then the largest of what it leaves.

    >>> stretches(np.array([2.0, -1.0, 2.0, -9.0, 1.0]), count=3)
    [(0, 3), (4, 5)]
    """
    left, found = values.copy(), list[tuple[int, int]]()
    # No stretch is worth crossing one that is taken.
    barrier = 1 + float(np.abs(values).sum())
    while len(found) < count:
        begin, end = _largest(left)
        if left[begin:end].sum() <= 0:
            break
        found.append((begin, end))
        left[begin:end] = -barrier
    return found


def padded(moment: Moment, seconds: float, duration: float) -> Moment:
    """A moment with so much context on both sides, inside a video of this duration.

    >>> whole = padded(Moment(3.0, 8.0, 0.5, 0, 3, 3.5), seconds=5, duration=10.0)
    >>> whole.start, whole.end
    (0.0, 10.0)
    """
    # A container may claim less than decoded: what was found stays inside.
    end = max(moment.end, min(moment.end + seconds, duration))
    return replace(moment, start=max(0.0, moment.start - seconds), end=end)


def _largest(values: Float64) -> tuple[int, int]:
    """The stretch with the largest sum: the sum up to an end, less the lowest before it."""
    sums = np.concatenate([[0.0], values.cumsum()])
    lowest = np.minimum.accumulate(sums)
    end = 1 + int((sums[1:] - lowest[:-1]).argmax())
    return int(sums[:end].argmin()), end


def _moment(begin: int, end: int, similarities: Float32, video: VideoVectors) -> Moment:
    strongest = begin + int(similarities[begin:end].argmax())
    super_image, cell = divmod(int(video.cell_positions[strongest]), video.mask.shape[1])
    times = video.cell_times
    return Moment(
        start=float(times[begin:end, 0].min()),
        end=float(times[begin:end, 1].max()),
        score=float(similarities[strongest]),
        super_image=super_image,
        cell=cell,
        peak=float(times[strongest].mean()),
    )
