"""Served ranks: the index proposes, both branches decide among the best C."""

import numpy as np
import pytest

from qasir.config import IndexUnit
from qasir.manifest import ScoreFusion
from qasir.search import RankedVideos
from tests.support.reference_scores import score_direct
from training.evaluate.corpus import EvalSplit
from training.evaluate.measures import UNANSWERED
from training.evaluate.scores import natural
from training.evaluate.variant import pessimistic_rank, serving_ranks

BRANCHES = ScoreFusion(super_image_weight=0.4, super_image_tau=0.05, cell_tau=0.1)


def slow_scores(part: EvalSplit, query: int) -> dict[str, dict[str, float]]:
    """Scores of either branch and of both, by video."""
    vector = part.query_vectors[query]
    found = {}
    for video_id, video in part.videos.items():
        whole = score_direct(vector, video.super_images.astype(np.float32), 0.05)
        cells = score_direct(vector, video.cells.astype(np.float32), 0.1)
        found[video_id] = {"super-image": whole, "cell": cells, "both": 0.4 * whole + 0.6 * cells}
    return found


def slow_rank(part: EvalSplit, query: int, unit: str, candidates: int) -> int:
    scores = slow_scores(part, query)
    recalled = sorted(scores, key=lambda video_id: -scores[video_id][unit])
    best = sorted(recalled[:candidates], key=lambda video_id: -scores[video_id]["both"])
    return 1 + (best + recalled[candidates:]).index(part.queries[query].video_id)


@pytest.mark.parametrize("unit", ["super-image", "cell"])
@pytest.mark.parametrize("candidates", [1, 4, 50])
def test_only_the_best_of_recall_are_ranked_again(
    part: EvalSplit, unit: IndexUnit, candidates: int
) -> None:
    found = serving_ranks(part, BRANCHES, unit, candidates)
    assert found.tolist() == [slow_rank(part, q, unit, candidates) for q in range(12)]


def test_a_query_without_its_video_is_answered_nowhere(part: EvalSplit) -> None:
    videos = {video_id: v for video_id, v in part.videos.items() if video_id != "v04"}
    part_without = EvalSplit(2, part.queries, part.query_vectors, videos, None)
    found = serving_ranks(part_without, BRANCHES, "cell")
    assert found[4] == UNANSWERED
    assert len(natural(videos)) == 11
    assert (np.delete(found, 4) <= 11).all()


def test_ties_count_against_a_video_within_its_kind_of_score() -> None:
    ranking = RankedVideos(
        ("a", "b", "c", "d", "e"), np.array([0.2, 0.2, 0.1, 0.9, 0.9], np.float32)
    )
    ranks = [pessimistic_rank(ranking, name, reranked=3) for name in "abcde"]
    assert ranks == [2, 2, 3, 5, 5]
