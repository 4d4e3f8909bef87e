"""Why a video was found: how a query's attention lies over its frames."""

from collections.abc import Sequence
from dataclasses import dataclass

from qasir.manifest import ScoreFusion
from qasir.moments import frame_attention, frame_similarities, moments
from qasir.types import Float32, Float64, Moment
from qasir.vectors import VideoVectors
from service.search.ranking import MOMENTS_PER_VIDEO


@dataclass(frozen=True)
class FrameAttention:
    """A query's attention to the F frames of one video, in order of time.

    times: float64 [F, 2], [start, end) of each; weights: float32 [F], 1 in all; frame f is cell
    f mod N*N of super image f div N*N.
    """

    times: Float64
    weights: Float32
    moments: Sequence[Moment]


def attend(query: Float32, video: VideoVectors, branches: ScoreFusion) -> FrameAttention:
    """The attention of a unit query [D] over a video, and the moments that come of it."""
    similarities = frame_similarities(query, video, branches)
    return FrameAttention(
        times=video.cell_times,
        weights=frame_attention(similarities, branches),
        moments=moments(query, video, branches, MOMENTS_PER_VIDEO),
    )
