"""Why a video was found: how a query's attention lies over its frames."""

from qasir import types
from qasir.contract.search import Attention, Moment
from qasir.manifest import ScoreFusion
from qasir.moments import frame_attention, frame_similarities, moments
from qasir.types import Float32
from qasir.vectors import VideoVectors

MOMENTS_PER_VIDEO = 3
# Attention is a share of one: nobody sees finer steps, and an hour has 3,600 of them.
WEIGHT_DIGITS = 6
TIME_DIGITS = 3


def attend(query: Float32, video_id: str, video: VideoVectors, fusion: ScoreFusion) -> Attention:
    """Compute the attention of a unit query [D] over a video, and the moments it peaks at."""
    weights = frame_attention(frame_similarities(query, video, fusion), fusion)
    starts, ends = video.cell_times.round(TIME_DIGITS).T.tolist()
    return Attention(
        video_id=video_id,
        grid_size=video.spec.grid_size,
        super_image_count=len(video.super_images),
        starts=starts,
        ends=ends,
        weights=[round(weight, WEIGHT_DIGITS) for weight in weights.tolist()],
        moments=[
            shown_moment(moment, video_id)
            for moment in moments(query, video, fusion, MOMENTS_PER_VIDEO)
        ],
    )


def shown_moment(moment: types.Moment, video_id: str) -> Moment:
    """Add to a moment where its strongest frame can be seen."""
    return Moment(
        start=moment.start,
        end=moment.end,
        score=moment.score,
        super_image=moment.super_image,
        cell=moment.cell,
        thumbnail_url=f"/v1/videos/{video_id}/thumbnail?t={moment.peak:.2f}",
    )
