"""Ranks of a split's queries in a pool, and the measures over them.

Scores come from `qasir.index`, ranks and recalls from `qasir.metrics`: the same code that
answers searches.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from qasir.index import Index
from qasir.metrics import ranks, recall_at, sum_r
from qasir.scoring import Pooling
from qasir.types import Float32, Int64
from training.dataset import Query
from training.pools import Pool

# A query whose video could not be encoded is not found at any K; it still counts.
UNANSWERED = int(np.iinfo(np.int64).max)
CHUNK_SUPER_IMAGES = 100_000
SELECTION_KS = (1, 5, 10)


@dataclass(frozen=True)
class Setting:
    """One way to score: kind of pooling, and its temperature (only attention has one)."""

    pooling: Pooling
    tau: float


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
    """Measures of ranks in a pool of `videos` videos.

    >>> measure(np.array([1, 7]), videos=60).sumr
    200.0
    """
    r1, r5, r10 = (recall_at(query_ranks, k) for k in SELECTION_KS)
    whole = videos > 100
    r100 = recall_at(query_ranks, 100) if whole else None
    sumr = sum_r(query_ranks) if whole else objective(query_ranks)
    return Measures(videos, len(query_ranks), r1, r5, r10, r100, sumr)


def objective(query_ranks: Int64) -> float:
    """What selection maximises: R@1 + R@5 + R@10."""
    return sum_r(query_ranks, SELECTION_KS)


def rank_queries(
    queries: Sequence[Query], vectors: Float32, pool: Pool, settings: Sequence[Setting]
) -> list[Int64]:
    """Ranks [Q] of every setting; `vectors` are the queries' float32 [Q, D].

    Memory holds one chunk of the pool and the scores [Q, V] of every setting.
    """
    ids: list[str] = []
    parts: list[list[Float32]] = [[] for _ in settings]
    for index in _chunks(pool, vectors.shape[1]):
        for setting, columns in zip(settings, parts, strict=True):
            chunk_ids, scores = index.scores(vectors, setting.tau, setting.pooling)
            columns.append(scores)
        ids += chunk_ids
    return [_ranks(queries, ids, np.concatenate(columns, axis=1)) for columns in parts]


def _ranks(queries: Sequence[Query], ids: list[str], scores: Float32) -> Int64:
    column = {video_id: i for i, video_id in enumerate(ids)}
    answered = np.array([query.video_id in column for query in queries])
    positives = np.array([column[q.video_id] for q in queries if q.video_id in column], np.int64)
    result = np.full(len(queries), UNANSWERED, np.int64)
    result[answered] = ranks(scores[answered], positives)
    return result


def _chunks(pool: Pool, dim: int) -> Iterator[Index]:
    """The pool as indexes of bounded size, at least one video each."""
    for video_id, video in pool:
        index = Index(video.passport, dim)
        index.put(video_id, video)
        room = max(0, CHUNK_SUPER_IMAGES // len(video.vectors) - 1)
        for other_id, other in islice(pool, room):
            index.put(other_id, other)
        yield index
