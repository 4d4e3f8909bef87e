"""Find the moments of a video that answer a query, from attention over its frames.

Each real cell is a frame, so moments are as exact as the sampling. The similarity of a frame
blends those of its cell and of its super image with the weights of the score: the cell shows
which frame it is, the super image what its neighbours show.
"""

from dataclasses import replace

import numpy as np

from qasir import kernels
from qasir.manifest import ScoreFusion
from qasir.scoring import attention, blend
from qasir.types import Float32, Float64, Moment
from qasir.vectors import VideoVectors

# On a scale from the video's average attention (0) to its strongest frame (1). A moment's value
# is the sum of what its frames have above the threshold, so a short gap is bridged where both
# sides outweigh it. The scale is relative because a high tau flattens attention. Chosen on the
# demo's validation videos, at their own length and lengthened.
THRESHOLD = 0.15


def moments(query: Float32, video: VideoVectors, fusion: ScoreFusion, count: int) -> list[Moment]:
    """Return up to `count` disjoint moments of a video for a unit query [D], best first.

    A moment's score is the similarity of its strongest frame; `super_image`, `cell` and `peak`
    say where that frame is.
    """
    similarities = frame_similarities(query, video, fusion)
    values = above_threshold(frame_attention(similarities, fusion))
    return [_moment(begin, end, similarities, video) for begin, end in stretches(values, count)]


def frame_similarities(query: Float32, video: VideoVectors, fusion: ScoreFusion) -> Float32:
    """Return the similarities of the F frames to a unit query [D], float32 [F]."""
    flat = np.empty(len(video.flat), np.float32)
    kernels.products(video.flat.view(np.int16), query, flat)
    similarities = flat.reshape(len(video.embeddings), -1)
    whole = np.broadcast_to(similarities[:, :1], video.mask.shape)
    return blend(whole[video.mask], similarities[:, 1:][video.mask], fusion)


def frame_attention(similarities: Float32, fusion: ScoreFusion) -> Float32:
    """Return the attention of frames with these similarities [F], float32 [F], summing to 1."""
    weight = fusion.super_image_weight
    tau = weight * fusion.super_image_tau + (1 - weight) * fusion.cell_tau
    return attention(similarities, tau)


def above_threshold(weights: Float32) -> Float64:
    """Scale attention [F] to 0 at its average and 1 at its maximum, and subtract THRESHOLD.

    >>> above_threshold(np.array([0, 0, 1], np.float32)).round(2).tolist()
    [-0.65, -0.65, 0.85]
    """
    average, strongest = float(weights.mean()), float(weights.max())
    if strongest <= average:
        # The average of equal numbers can round to more than any of them.
        return np.full(len(weights), 1 - THRESHOLD)
    return (weights.astype(np.float64) - average) / (strongest - average) - THRESHOLD


def stretches(values: Float64, count: int) -> list[tuple[int, int]]:
    """Return up to `count` disjoint stretches [begin, end) with the largest positive sums.

    Greedy: the largest of all, then the largest in what is left.

    >>> stretches(np.array([2.0, -1.0, 2.0, -9.0, 1.0]), count=3)
    [(0, 3), (4, 5)]
    """
    left, result = values.copy(), list[tuple[int, int]]()
    # Too low for any later stretch to cross it.
    barrier = -1 - float(np.abs(values).sum())
    while len(result) < count:
        begin, end = _largest(left)
        if left[begin:end].sum() <= 0:
            break
        result.append((begin, end))
        left[begin:end] = barrier
    return result


def padded(moment: Moment, seconds: float, duration: float) -> Moment:
    """Extend a moment by `seconds` on both sides, within a video of this duration.

    >>> whole = padded(Moment(3.0, 8.0, 0.5, 0, 3, 3.5), seconds=5, duration=10.0)
    >>> whole.start, whole.end
    (0.0, 10.0)
    """
    # A container may declare less than was decoded: never cut the moment itself.
    end = max(moment.end, min(moment.end + seconds, duration))
    return replace(moment, start=max(0.0, moment.start - seconds), end=end)


def _largest(values: Float64) -> tuple[int, int]:
    """Return the stretch with the largest sum: a prefix sum minus the lowest one before it."""
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
