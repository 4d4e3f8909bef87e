"""From an index to ranked videos: recall, the scorer's input, scores in context.

The scorer sees at most 16 units of a video. What is left of a longer one is folded into one
more unit: an attention-weighted sum can be cut anywhere, so 16 + 1 units give exactly the
score of all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qasir.errors import InvalidInput
from qasir.index import Index
from qasir.moments import runs
from qasir.scoring import attention
from qasir.types import Float16, Float32, Int64

UNITS_PER_VIDEO = 16
SCORE_DECIMALS = 6
NOT_A_UNIT = np.float32(-1e9)


@dataclass(frozen=True)
class Recalled:
    """The library's answer to one query: ids and scores of all V videos, best first."""

    ids: tuple[str, ...]
    scores: Float32


@dataclass(frozen=True)
class Candidate:
    """One video for the scorer.

    units: float16 [U, D], U <= 17; log_weights: float32 [U], 0 for a real unit;
    positions: int [U], super image of each unit, -1 for the folded rest.
    """

    units: Float16
    log_weights: Float32
    positions: Int64


@dataclass(frozen=True)
class ScorerInput:
    """C candidates side by side: units float16 [M, D], log_weights float32 [C, M]."""

    units: Float16
    log_weights: Float32


def recall(index: Index, query: Float32, tau: float) -> Recalled:
    """Every video's exact score for a unit query [D], best first, ties by id."""
    ids, all_scores = index.scores(query[None, :], tau)
    # Processes that were filled in another order differ in the last bits: not in the ranking.
    scores = np.round(all_scores[0], SCORE_DECIMALS)
    order = np.argsort(-scores, kind="stable")
    ranked, ranked_scores = [ids[i] for i in order.tolist()], scores[order]
    # Few scores tie, so names are compared only there.
    for begin, end in runs(ranked_scores[1:] == ranked_scores[:-1]):
        ranked[begin : end + 1] = sorted(ranked[begin : end + 1])
    return Recalled(tuple(ranked), ranked_scores)


def select_units(
    query: Float32, vectors: Float16, tau: float, limit: int = UNITS_PER_VIDEO
) -> Candidate:
    """The `limit` super images of vectors [S, D] nearest to the query, and the rest as one."""
    rows = vectors.astype(np.float32)
    similarities = rows @ query
    if len(rows) <= limit:
        return Candidate(vectors, np.zeros(len(rows), np.float32), np.arange(len(rows)))
    order = np.argsort(-similarities, kind="stable")
    best, rest = np.sort(order[:limit]), order[limit:]
    folded = (attention(similarities[rest], tau) @ rows[rest]).astype(np.float16)
    logits = similarities[rest] / np.float32(tau)
    total = logits.max() + np.log(np.exp(logits - logits.max()).sum())
    prior = total - folded.astype(np.float32) @ query / np.float32(tau)
    return Candidate(
        np.concatenate([vectors[best], folded[None]]),
        np.concatenate([np.zeros(limit, np.float32), [prior]]).astype(np.float32),
        np.concatenate([best, [-1]]),
    )


def pack(candidates: Sequence[Candidate], videos: int, units: int) -> ScorerInput:
    """Candidates padded to fixed sizes C = `videos`, M = `units`, so that requests batch.

    Raises:
        InvalidInput: they do not fit, or there are none.
    """
    total = sum(len(candidate.units) for candidate in candidates)
    if not candidates or len(candidates) > videos or total > units:
        raise InvalidInput(
            f"{len(candidates)} candidates with {total} units do not fit {videos} x {units}"
        )
    packed = np.zeros((units, candidates[0].units.shape[1]), np.float16)
    log_weights = np.full((videos, units), NOT_A_UNIT, np.float32)
    begin = 0
    for row, candidate in enumerate(candidates):
        end = begin + len(candidate.units)
        packed[begin:end] = candidate.units
        log_weights[row, begin:end] = candidate.log_weights
        begin = end
    return ScorerInput(packed, log_weights)


def unpack_attention(packed: Float32, candidates: Sequence[Candidate]) -> list[Float32]:
    """Attention [C, M] of a scorer's answer, cut back to each candidate's units [U]."""
    result, begin = [], 0
    for row, candidate in enumerate(candidates):
        end = begin + len(candidate.units)
        result.append(packed[row, begin:end])
        begin = end
    return result


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
