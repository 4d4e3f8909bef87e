"""The attention scorer's input, and the new order of a ranking that its scores give."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qasir.errors import InvalidInput
from qasir.scoring import SCORE_DECIMALS
from qasir.types import Float16, Float32

# Log weight of an embedding that does not count: padding, or another video's.
MASKED_LOG_WEIGHT = np.float32(-1e9)
# Requests of equal shape share one batch in Triton, so sizes are rounded up: four to each
# doubling, and 1 for the branch that has no weight.
SMALLEST_BUCKET = 64
BUCKETS_PER_DOUBLING = 4


@dataclass(frozen=True)
class RankedVideos:
    """Videos with their scores for one query, best first."""

    ids: tuple[str, ...]
    scores: Float32


@dataclass(frozen=True)
class FoldedEmbeddings:
    """One video's embeddings as one branch of the scorer reads them.

    embeddings: float16 [K, D]; log_weights: float32 [K], 0 for an embedding of the video, a
    prior for the last one of a long video, which stands for the rest.
    """

    embeddings: Float16
    log_weights: Float32


@dataclass(frozen=True)
class ScorerInput:
    """C videos side by side, in both branches.

    super_images: float16 [M, D]; log_weights: float32 [C, M], which of them belong to a video;
    cells: float16 [K, D]; cell_log_weights: float32 [C, K].
    """

    super_images: Float16
    log_weights: Float32
    cells: Float16
    cell_log_weights: Float32


def rerank(ranking: RankedVideos, scores: Float32) -> RankedVideos:
    """Sort the first C videos by their new scores [C] and leave the rest behind them as it was.

    Raises:
        InvalidInput: there are more scores than videos.
    """
    count = len(scores)
    if count > len(ranking.ids):
        raise InvalidInput(f"{count} scores for a ranking of {len(ranking.ids)} videos")
    best = ranked(ranking.ids[:count], scores)
    return RankedVideos(
        best.ids + ranking.ids[count:], np.concatenate([best.scores, ranking.scores[count:]])
    )


def rerank_subset(ranking: RankedVideos, scores: Mapping[str, float]) -> RankedVideos:
    """Put the videos with a new score first, sorted by it, and leave the rest as it was.

    >>> cheap = RankedVideos(("a", "b", "c"), np.array([0.9, 0.8, 0.7], np.float32))
    >>> rerank_subset(cheap, {"a": 0.1, "c": 0.2}).ids
    ('c', 'a', 'b')
    """
    is_new = np.array([video_id in scores for video_id in ranking.ids], bool)
    order = np.concatenate([np.flatnonzero(is_new), np.flatnonzero(~is_new)])
    ids = tuple(ranking.ids[i] for i in order.tolist())
    new = [scores[video_id] for video_id in ids[: int(is_new.sum())]]
    return rerank(RankedVideos(ids, ranking.scores[order]), np.array(new, np.float32))


def ranked(ids: Sequence[str], scores: Float32) -> RankedVideos:
    """Rank videos by their scores [V], rounded so that equal ones tie; ties go by id."""
    rounded = np.round(scores, SCORE_DECIMALS)
    order = sorted(range(len(ids)), key=lambda i: (-rounded[i], ids[i]))
    return RankedVideos(tuple(ids[i] for i in order), rounded[order])


def pack(
    super_images: Sequence[FoldedEmbeddings], cells: Sequence[FoldedEmbeddings], slots: int
) -> ScorerInput:
    """Lay the videos of each branch side by side, padded to a few sizes C = `slots`, M and K.

    A branch without videos becomes a single dummy embedding.

    Raises:
        InvalidInput: there are more videos than slots, none, or another number in each branch.
    """
    counts = {len(branch) for branch in (super_images, cells) if branch}
    if len(counts) != 1 or max(counts) > slots:
        raise InvalidInput(
            f"{len(super_images)} videos by super images and {len(cells)} by cells: give 1 to "
            f"{slots} videos, the same number in both branches or none in one"
        )
    dim = (super_images or cells)[0].embeddings.shape[1]
    return ScorerInput(*_pack_branch(super_images, slots, dim), *_pack_branch(cells, slots, dim))


def _pack_branch(
    videos: Sequence[FoldedEmbeddings], slots: int, dim: int
) -> tuple[Float16, Float32]:
    embeddings = np.zeros((bucket(sum(len(v.embeddings) for v in videos)), dim), np.float16)
    log_weights = np.full((slots, len(embeddings)), MASKED_LOG_WEIGHT, np.float32)
    begin = 0
    for row, video in enumerate(videos):
        end = begin + len(video.embeddings)
        embeddings[begin:end] = video.embeddings
        log_weights[row, begin:end] = video.log_weights
        begin = end
    return embeddings, log_weights


def bucket(count: int) -> int:
    """Return the size to which `count` embeddings are padded.

    >>> [bucket(n) for n in (0, 1, 64, 65, 450, 850)]
    [1, 64, 64, 128, 512, 896]
    """
    if count == 0:
        return 1
    step = max(SMALLEST_BUCKET, (1 << count.bit_length() - 1) // BUCKETS_PER_DOUBLING)
    return -(-count // step) * step
