"""Ranks of a split's queries in a pool, and the measures over them.

Ranks and recalls come from `qasir.metrics`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from qasir.metrics import ranks, recall_at, sum_r
from qasir.types import Float32, Int64
from training.dataset import Query
from training.intervals import SELECTION_KS
from training.pools import Pool
from training.scores import Setting, score_pool

# A query whose video could not be encoded is not found at any K; it still counts.
UNANSWERED = int(np.iinfo(np.int64).max)


@dataclass(frozen=True)
class Measures:
    """Recalls in percent over `queries` queries and `videos` videos.

    R@100 is None where the pool has at most 100 videos; sumr adds up the ones that are given.
    """

    videos: int
    queries: int
    r1: float
    r5: float
    r10: float
    r100: float | None
    sumr: float


def measure(query_ranks: Int64, videos: int) -> Measures:
    """Measures of ranks [Q] in a pool of `videos` videos; of ranks [seeds, Q], their means.

    >>> measure(np.array([1, 7]), videos=60).sumr
    200.0
    """
    flat = query_ranks.reshape(-1)
    r1, r5, r10 = (recall_at(flat, k) for k in SELECTION_KS)
    whole = videos > 100
    r100 = recall_at(flat, 100) if whole else None
    sumr = sum_r(flat) if whole else objective(flat)
    return Measures(videos, query_ranks.shape[-1], r1, r5, r10, r100, sumr)


def objective(query_ranks: Int64) -> float:
    """What selection maximises: R@1 + R@5 + R@10."""
    return sum_r(query_ranks, SELECTION_KS)


def rank_queries(
    queries: Sequence[Query], vectors: Float32, pool: Pool, settings: Sequence[Setting]
) -> list[Int64]:
    """Ranks [Q] of every setting; `vectors` are the queries' float32 [Q, D]."""
    ids = [entry.video_id for entry in pool]
    return [rank_scores(queries, ids, table) for table in score_pool(vectors, pool, settings)]


def rank_scores(queries: Sequence[Query], ids: Sequence[str], scores: Float32) -> Int64:
    """Rank [Q] of every query's own video by scores [Q, V] of the videos `ids`."""
    column = {video_id: i for i, video_id in enumerate(ids)}
    answered = np.array([query.video_id in column for query in queries])
    positives = np.array([column[q.video_id] for q in queries if q.video_id in column], np.int64)
    result = np.full(len(queries), UNANSWERED, np.int64)
    result[answered] = ranks(scores[answered], positives)
    return result
