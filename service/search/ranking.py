"""From an order of videos to the results of one page, by video or by moment."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from qasir.contract.search import SearchRequest
from qasir.manifest import ScoreFusion
from qasir.moments import moments, padded
from qasir.search import RankedVideos, z_scores
from qasir.types import Float32, Moment
from service.catalogue.videos import Video
from service.search.index_cache import IndexedVideo, RecallResult

MOMENTS_PER_VIDEO = 3

FindMoments = Callable[["Ranked"], list[Moment]]


@dataclass(frozen=True)
class Ranked:
    """A video in its place; `z` is how far recall's score of it stands out."""

    score: float
    z: float
    found: IndexedVideo


@dataclass(frozen=True)
class Hit:
    """One result: a video with its best moments, or one moment of a video."""

    rank: int
    score: float
    score_z: float
    video: Video
    moments: Sequence[Moment]


@dataclass(frozen=True)
class Entry:
    """What becomes one result."""

    score: float
    ranked: Ranked
    moments: Sequence[Moment]


def ranked(view: RecallResult, order: RankedVideos) -> list[Ranked]:
    """The found videos in this order; z is about the scores of recall, which all videos have."""
    count = len(view.found)
    z = dict(zip(view.recalled.ids[:count], z_scores(view.recalled.scores), strict=False))
    return [
        Ranked(float(score), float(z[video_id]), view.found[video_id])
        for video_id, score in zip(order.ids[:count], order.scores[:count], strict=True)
    ]


def videos_wanted(request: SearchRequest, block: int) -> int:
    """How many of the best videos a page is made from: whole blocks, whatever the page."""
    blocks = -(-(request.offset + request.top_k) // block)
    return blocks * block


def page(
    videos: Sequence[Ranked],
    query: Float32,
    branches: ScoreFusion,
    request: SearchRequest,
    block: int,
) -> list[Hit]:
    """Results [offset, offset + top_k) of a ranking."""

    def find(video: Ranked) -> list[Moment]:
        return moments(query, video.found.vectors, branches, MOMENTS_PER_VIDEO)

    begin, end = request.offset, request.offset + request.top_k
    if request.group_by == "moment":
        entries = list(islice(by_moment(videos, find, block), begin, end))
    else:
        entries = [Entry(video.score, video, find(video)) for video in videos[begin:end]]
    return [
        _hit(entry, rank, request.context_seconds) for rank, entry in enumerate(entries, begin + 1)
    ]


def by_moment(videos: Sequence[Ranked], find: FindMoments, block: int) -> Iterator[Entry]:
    """Every moment as an entry of its own: those of the first `block` videos, best first, then
    those of the next.

    Best first over all videos, a page would need the moments of every one, or change the order
    of the page before it.
    """
    for begin in range(0, len(videos), block):
        part = videos[begin : begin + block]
        entries = [Entry(moment.score, video, [moment]) for video in part for moment in find(video)]
        yield from sorted(entries, key=lambda entry: -entry.score)


def _hit(entry: Entry, rank: int, context_seconds: float) -> Hit:
    video = entry.ranked.found.video
    shown = [padded(moment, context_seconds, video.duration) for moment in entry.moments]
    return Hit(rank, entry.score, entry.ranked.z, video, shown)
