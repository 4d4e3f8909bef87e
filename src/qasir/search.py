"""Rank an index: recall, the attention scorer's input, and the new order that its scores give.

The scorer reads at most `limit` + 1 embeddings of a video in each branch: those nearest to the
query, and one that stands for all the others. An attention-weighted sum can be split anywhere,
so both together give exactly the score of the whole video.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qasir.errors import InvalidInput
from qasir.manifest import ScoreFusion
from qasir.scoring import SCORE_DECIMALS
from qasir.types import Bool, Float16, Float32
from qasir.vectors import VideoVectors, to_float32

EMBEDDINGS_PER_VIDEO = 4
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
    best = _ranked(ranking.ids[:count], scores)
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


def _ranked(ids: Sequence[str], scores: Float32) -> RankedVideos:
    # Rounded, because the last bits depend on the order in which a process filled its index.
    rounded = np.round(scores, SCORE_DECIMALS)
    order = np.argsort(-rounded)
    ranked, ranked_scores = list(map(ids.__getitem__, order.tolist())), rounded[order]
    # Few scores tie: sorting names only within ties is faster than a stable sort by both.
    for begin, end in _runs(ranked_scores[1:] == ranked_scores[:-1]):
        ranked[begin : end + 1] = sorted(ranked[begin : end + 1])
    return RankedVideos(tuple(ranked), ranked_scores)


def _runs(flags: Bool) -> list[tuple[int, int]]:
    """Return [begin, end) of every run of True."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]


def scorer_input(
    query: Float32,
    videos: Sequence[VideoVectors],
    fusion: ScoreFusion,
    slots: int,
    limit: int = EMBEDDINGS_PER_VIDEO,
) -> ScorerInput:
    """Fold and pack at most C = `slots` videos for a query [D].

    A branch of weight 0 is sent as a single dummy embedding.

    Raises:
        InvalidInput: there are more videos than slots, or none.
    """
    weight = fusion.super_image_weight
    whole = [v.super_images for v in videos] if weight > 0 else []
    parts = [v.cells for v in videos] if weight < 1 else []
    return pack(
        [fold_embeddings(query, rows, fusion.super_image_tau, limit) for rows in whole],
        [fold_embeddings(query, rows, fusion.cell_tau, limit) for rows in parts],
        slots,
    )


def fold_embeddings(
    query: Float32, rows: Float16, tau: float, limit: int = EMBEDDINGS_PER_VIDEO
) -> FoldedEmbeddings:
    """Keep the `limit` rows [K, D] nearest to the query, in any order, and fold the rest into one.

    The folded row is the attention-weighted mean of the rest; its log weight is the prior that
    gives it the attention that the rest would get.
    """
    if len(rows) <= limit + 1:
        return FoldedEmbeddings(rows, np.zeros(len(rows), np.float32))
    vectors = to_float32(rows)
    logits = vectors @ query / np.float32(tau)
    best = np.argpartition(-logits, limit)[:limit]
    logits[best] = -np.inf
    shares = np.exp(logits - logits.max())
    folded = (shares @ vectors / shares.sum()).astype(np.float16)
    log_weights = np.zeros(limit + 1, np.float32)
    # Minus what the scorer adds itself: its similarity to the folded vector, after rounding.
    log_weights[-1] = logits.max() + np.log(shares.sum()) - to_float32(folded) @ query / tau
    return FoldedEmbeddings(np.concatenate([rows[best], folded[None]]), log_weights)


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
