"""From an index to ranked videos: recall, the scorer's input, the order that it decides.

The scorer sees at most a few units of a video in each branch. What is left of a longer one
is folded into one more: an attention-weighted sum can be cut anywhere, so `limit` + 1 units
give exactly the score of all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from qasir.errors import InvalidInput
from qasir.index import Index
from qasir.manifest import ScoreFusion
from qasir.types import Bool, Float16, Float32
from qasir.vectors import VideoVectors, to_float32

EMBEDDINGS_PER_VIDEO = 4
SCORE_DECIMALS = 6
MASKED_LOG_WEIGHT = np.float32(-1e9)
# Requests whose shapes agree share one batch in Triton: four sizes to each doubling, and the
# one unit of a branch that does not count.
SMALLEST_BUCKET = 64
BUCKETS_PER_DOUBLING = 4


@dataclass(frozen=True)
class Recalled:
    """The library's answer to one query: ids and scores of all V videos, best first."""

    ids: tuple[str, ...]
    scores: Float32


@dataclass(frozen=True)
class Candidate:
    """One video in one branch of the scorer.

    units: float16 [U, D]; log_weights: float32 [U], 0 for a real unit, the prior of the
    folded rest for the last one of a long video.
    """

    embeddings: Float16
    log_weights: Float32


@dataclass(frozen=True)
class ScorerInput:
    """C candidates side by side, in both branches.

    super_images: float16 [M, D]; log_weights: float32 [C, M], which of them are whose;
    cells: float16 [K, D]; cell_log_weights: float32 [C, K].
    """

    super_images: Float16
    log_weights: Float32
    cells: Float16
    cell_log_weights: Float32


def recall(index: Index, query: Float32, tau: float, chosen: Bool | None = None) -> Recalled:
    """Every video's exact score for a unit query [D], best first, ties by id.

    chosen: bool [V] in the order of the index's ids; the others are as if they were not there.
    """
    ids, all_scores = index.scores(query[None, :], tau)
    if chosen is None:
        return _ranked(ids, all_scores[0])
    return _ranked(list(compress(ids, chosen)), all_scores[0][chosen])


def rerank(recalled: Recalled, scores: Float32) -> Recalled:
    """The first C of a ranking by their new scores [C], in front of the rest as it was.

    Raises:
        InvalidInput: more scores than videos.
    """
    count = len(scores)
    if count > len(recalled.ids):
        raise InvalidInput(f"{count} scores for a ranking of {len(recalled.ids)} videos")
    best = _ranked(recalled.ids[:count], scores)
    return Recalled(
        best.ids + recalled.ids[count:], np.concatenate([best.scores, recalled.scores[count:]])
    )


def rerank_subset(recalled: Recalled, scores: Mapping[str, float]) -> Recalled:
    """The videos that have a new score by it, in front of the rest as it was.

    >>> cheap = Recalled(("a", "b", "c"), np.array([0.9, 0.8, 0.7], np.float32))
    >>> rerank_subset(cheap, {"a": 0.1, "c": 0.2}).ids
    ('c', 'a', 'b')
    """
    is_new = np.array([video_id in scores for video_id in recalled.ids], bool)
    places = np.concatenate([np.flatnonzero(is_new), np.flatnonzero(~is_new)])
    ids = tuple(recalled.ids[i] for i in places.tolist())
    new = [scores[video_id] for video_id in ids[: int(is_new.sum())]]
    return rerank(Recalled(ids, recalled.scores[places]), np.array(new, np.float32))


def _ranked(ids: Sequence[str], scores: Float32) -> Recalled:
    # Processes that were filled in another order differ in the last bits: not in the ranking.
    rounded = np.round(scores, SCORE_DECIMALS)
    order = np.argsort(-rounded)
    ranked, ranked_scores = list(map(ids.__getitem__, order.tolist())), rounded[order]
    # Few scores tie, so names are compared only there, and the sort need not be stable.
    for begin, end in _runs(ranked_scores[1:] == ranked_scores[:-1]):
        ranked[begin : end + 1] = sorted(ranked[begin : end + 1])
    return Recalled(tuple(ranked), ranked_scores)


def _runs(flags: Bool) -> list[tuple[int, int]]:
    """[begin, end) of every stretch of True."""
    steps = np.flatnonzero(np.diff(np.concatenate(([False], flags, [False])).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True)]


def scorer_input(
    query: Float32,
    videos: Sequence[VideoVectors],
    branches: ScoreFusion,
    places: int,
    limit: int = EMBEDDINGS_PER_VIDEO,
) -> ScorerInput:
    """What the scorer needs for a query [D] and at most C = `places` videos.

    A branch without weight costs one unit that is nobody's.

    Raises:
        InvalidInput: there are more videos than places, or none.
    """
    weight = branches.super_image_weight
    whole = [v.super_images for v in videos] if weight > 0 else []
    parts = [v.cells for v in videos] if weight < 1 else []
    return pack(
        [fold_embeddings(query, rows, branches.super_image_tau, limit) for rows in whole],
        [fold_embeddings(query, rows, branches.cell_tau, limit) for rows in parts],
        places,
    )


def fold_embeddings(
    query: Float32, rows: Float16, tau: float, limit: int = EMBEDDINGS_PER_VIDEO
) -> Candidate:
    """The `limit` of rows [U, D] nearest to the query, in any order, and the rest as one."""
    if len(rows) <= limit + 1:
        return Candidate(rows, np.zeros(len(rows), np.float32))
    vectors = to_float32(rows)
    logits = vectors @ query / np.float32(tau)
    best = np.argpartition(-logits, limit)[:limit]
    logits[best] = -np.inf
    shares = np.exp(logits - logits.max())
    folded = (shares @ vectors / shares.sum()).astype(np.float16)
    log_weights = np.zeros(limit + 1, np.float32)
    # Less what the scorer adds by itself: its similarity to the folded vector, as rounded.
    log_weights[-1] = logits.max() + np.log(shares.sum()) - to_float32(folded) @ query / tau
    return Candidate(np.concatenate([rows[best], folded[None]]), log_weights)


def pack(super_images: Sequence[Candidate], cells: Sequence[Candidate], places: int) -> ScorerInput:
    """Candidates of both branches, padded to few sizes C = `places`, M and K.

    A branch without candidates becomes one unit that is nobody's.

    Raises:
        InvalidInput: there are more candidates than places, none, or not as many in a branch
            as in the other.
    """
    counts = {len(branch) for branch in (super_images, cells) if branch}
    if len(counts) != 1 or max(counts) > places:
        raise InvalidInput(
            f"{len(super_images)} candidates by super images and {len(cells)} by cells: need 1 "
            f"to {places}, as many in each branch or none in one"
        )
    dim = (super_images or cells)[0].embeddings.shape[1]
    return ScorerInput(*_pack_branch(super_images, places, dim), *_pack_branch(cells, places, dim))


def _pack_branch(candidates: Sequence[Candidate], places: int, dim: int) -> tuple[Float16, Float32]:
    total = sum(len(candidate.embeddings) for candidate in candidates)
    embeddings = np.zeros((bucket(total), dim), np.float16)
    log_weights = np.full((places, len(embeddings)), MASKED_LOG_WEIGHT, np.float32)
    begin = 0
    for row, candidate in enumerate(candidates):
        end = begin + len(candidate.embeddings)
        embeddings[begin:end] = candidate.embeddings
        log_weights[row, begin:end] = candidate.log_weights
        begin = end
    return embeddings, log_weights


def bucket(count: int) -> int:
    """The size that so many units are padded to.

    >>> [bucket(n) for n in (0, 1, 64, 65, 450, 850)]
    [1, 64, 64, 128, 512, 896]
    """
    if count == 0:
        return 1
    step = max(SMALLEST_BUCKET, (1 << count.bit_length() - 1) // BUCKETS_PER_DOUBLING)
    return -(-count // step) * step


def z_scores(scores: Float32) -> Float32:
    """How far each score stands out, in standard deviations of this query's scores.

    >>> z_scores(np.array([1.0, 1.0], np.float32)).tolist()
    [0.0, 0.0]
    """
    spread = scores.std() if len(scores) else np.float32(0)
    if spread <= 0:
        return np.zeros_like(scores)
    result: Float32 = (scores - scores.mean()) / spread
    return result
