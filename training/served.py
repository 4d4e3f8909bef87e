"""Ranks as the service gives them: recall over one branch, then the best C by both.

The same functions that answer a search: `qasir.index` recalls, `qasir.search` orders.
"""

from collections.abc import Sequence

import numpy as np

from qasir.config import IndexUnit
from qasir.index import Index
from qasir.manifest import ScoreFusion
from qasir.search import RankedVideos, rerank
from qasir.types import Float32, Int64
from training.dataset import Query
from training.measures import UNANSWERED
from training.parts import Part
from training.scores import Setting, score_pool

# What the scorer sees of a library: DESIGN, "data flow".
CANDIDATES = 50


def served_ranks(
    part: Part, branches: ScoreFusion, index_unit: IndexUnit, candidates: int = CANDIDATES
) -> Int64:
    """Rank [Q] of every query's video in a search of mode `accurate`."""
    ids, recalled = recall_scores(part, branches, index_unit)
    (both,) = score_pool(part.query_vectors, part.natural, [Setting("both", "attention", branches)])
    columns = {entry.video_id: i for i, entry in enumerate(part.natural)}
    rescored = both[:, [columns[video_id] for video_id in ids]]
    return rerank_all(part.queries, ids, recalled, rescored, candidates)


def recall_scores(
    part: Part, branches: ScoreFusion, unit: IndexUnit
) -> tuple[Sequence[str], Float32]:
    """Video ids and scores [Q, V] of an index over one unit."""
    first = next(iter(part.videos.values()))
    index = Index(first.spec, first.embeddings.shape[-1], unit)
    for video_id, video in part.videos.items():
        index.put(video_id, video)
    return index.scores(part.query_vectors, branches.tau(unit))


def rerank_all(
    queries: Sequence[Query],
    ids: Sequence[str],
    recalled: Float32,
    rescored: Float32,
    candidates: int,
) -> Int64:
    """Rank [Q] where `recalled` [Q, V] orders all videos and `rescored` [Q, V] the best of them."""
    found = np.full(len(queries), UNANSWERED, np.int64)
    column = {video_id: i for i, video_id in enumerate(ids)}
    for row, query in enumerate(queries):
        if query.video_id in column:
            order = _ordered(ids, recalled[row])
            best = [column[video_id] for video_id in order.ids[:candidates]]
            found[row] = pessimistic_rank(
                rerank(order, rescored[row, best]), query.video_id, len(best)
            )
    return found


def pessimistic_rank(ranking: RankedVideos, video_id: str, reranked: int) -> int:
    """The rank of a video in a ranking whose first `reranked` have scores of another kind.

    A tie counts against it, as in `qasir.metrics`; scores of the two kinds are not compared.
    """
    place = ranking.ids.index(video_id)
    begin, end = (0, reranked) if place < reranked else (reranked, len(ranking.ids))
    ties = ranking.scores[begin:end] >= ranking.scores[place]
    return begin + int(ties.sum())


def _ordered(ids: Sequence[str], scores: Float32) -> RankedVideos:
    """All videos by score, as `qasir.search.recall` orders them for one query."""
    return rerank(RankedVideos(tuple(ids), scores), scores)
