"""Hits as the contract's answers."""

from qasir import types
from qasir.contract.search import Attention, Moment, SearchResult, VideoReference
from qasir.vectors import VideoVectors
from service.search.attention import FrameAttention
from service.search.ranking import Hit

# Attention is a share of one: nobody sees finer steps, and an hour has 3,600 of them.
WEIGHT_DIGITS = 6
TIME_DIGITS = 3


def result(hit: Hit) -> SearchResult:
    """Make a result of a hit."""
    return SearchResult(
        rank=hit.rank,
        score=hit.score,
        score_z=hit.score_z,
        video=VideoReference.of(hit.video),
        moments=[moment(each, hit.video.id) for each in hit.moments],
    )


def attention(weights: FrameAttention, video_id: str, video: VideoVectors) -> Attention:
    """Make an answer of a query's attention to the frames of a video."""
    starts, ends = weights.times.round(TIME_DIGITS).T.tolist()
    return Attention(
        video_id=video_id,
        grid_size=video.spec.grid_size,
        super_image_count=len(video.super_images),
        starts=starts,
        ends=ends,
        weights=[round(weight, WEIGHT_DIGITS) for weight in weights.weights.tolist()],
        moments=[moment(each, video_id) for each in weights.moments],
    )


def moment(found: types.Moment, video_id: str) -> Moment:
    """Add to a moment where its strongest frame can be seen."""
    url = f"/v1/videos/{video_id}/thumbnail?t={found.peak:.2f}"
    return Moment(
        start=found.start,
        end=found.end,
        score=found.score,
        super_image=found.super_image,
        cell=found.cell,
        thumbnail_url=url,
    )
