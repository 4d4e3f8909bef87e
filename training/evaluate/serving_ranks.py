"""Ranks queries as the service does: recall over one branch, then the best C by both.

Uses the functions that answer a search: `qasir.index` recalls, `qasir.search` orders.
"""

from collections.abc import Sequence

import numpy as np

from qasir.config import CANDIDATES, IndexUnit
from qasir.index import Index
from qasir.manifest import ScoreFusion
from qasir.search import RankedVideos, rerank
from qasir.types import Float32, Int64
from training.data.dataset import Query
from training.evaluate.measures import UNANSWERED
from training.evaluate.scores import Setting, score_pool
from training.evaluate.split import EvalSplit


def serving_ranks(
    split: EvalSplit, branches: ScoreFusion, index_unit: IndexUnit, candidates: int = CANDIDATES
) -> Int64:
    """Returns the rank [Q] of every query's video in a search of mode `accurate`."""
    ids, recalled = recall_scores(split, branches, index_unit)
    (both,) = score_pool(
        split.query_vectors, split.natural, [Setting("both", "attention", branches)]
    )
    columns = {entry.video_id: i for i, entry in enumerate(split.natural)}
    rescored = both[:, [columns[video_id] for video_id in ids]]
    return rerank_all(split.queries, ids, recalled, rescored, candidates)


def recall_scores(
    split: EvalSplit, branches: ScoreFusion, unit: IndexUnit
) -> tuple[Sequence[str], Float32]:
    """Returns video ids and scores [Q, V] of an index over one unit."""
    first = next(iter(split.videos.values()))
    index = Index(first.spec, first.embeddings.shape[-1], unit)
    for video_id, video in split.videos.items():
        index.put(video_id, video)
    return index.scores(split.query_vectors, branches.tau(unit))


def rerank_all(
    queries: Sequence[Query],
    ids: Sequence[str],
    recalled: Float32,
    rescored: Float32,
    candidates: int,
) -> Int64:
    """Returns ranks [Q]: `recalled` [Q, V] orders all videos, `rescored` [Q, V] the best."""
    ranks = np.full(len(queries), UNANSWERED, np.int64)
    column = {video_id: i for i, video_id in enumerate(ids)}
    for row, query in enumerate(queries):
        if query.video_id in column:
            order = _ordered(ids, recalled[row])
            best = [column[video_id] for video_id in order.ids[:candidates]]
            ranks[row] = pessimistic_rank(
                rerank(order, rescored[row, best]), query.video_id, len(best)
            )
    return ranks


def pessimistic_rank(ranking: RankedVideos, video_id: str, reranked: int) -> int:
    """Returns the rank of a video in a ranking whose first `reranked` videos were scored again.

    A tie counts against the video, as in `qasir.metrics`; recall and reranker scores are never
    compared.
    """
    place = ranking.ids.index(video_id)
    begin, end = (0, reranked) if place < reranked else (reranked, len(ranking.ids))
    ties = ranking.scores[begin:end] >= ranking.scores[place]
    return begin + int(ties.sum())


def _ordered(ids: Sequence[str], scores: Float32) -> RankedVideos:
    """Orders all videos by score, as `qasir.search.recall` does for one query."""
    return rerank(RankedVideos(tuple(ids), scores), scores)
