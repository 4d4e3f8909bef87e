"""Ranks and recalls, against counts worked out one by one."""

from dataclasses import replace

import numpy as np
import pytest

from qasir.manifest import ScoreFusion
from tests.support.reference_scores import score_direct
from training.evaluate.corpus import EvalSplit
from training.evaluate.measures import UNANSWERED, measure, objective
from training.evaluate.scores import Setting, natural

BRANCHES = ScoreFusion(super_image_weight=0.5, super_image_tau=0.05, cell_tau=0.05)
SHARP = Setting("cell", "attention", BRANCHES)
FLAT = Setting("cell", "mean", BRANCHES)


def slow_rank(part: EvalSplit, query: int) -> int:
    scores = {
        video_id: score_direct(part.query_vectors[query], video.cells.astype(np.float32), 0.05)
        for video_id, video in part.videos.items()
    }
    own = scores[part.queries[query].video_id]
    return sum(score >= own - 1e-7 for score in scores.values())


def test_ranks_equal_the_slow_ones(part: EvalSplit) -> None:
    sharp, flat = part.rank(part.natural, [SHARP, FLAT])
    assert sharp.tolist() == [slow_rank(part, query) for query in range(12)]
    assert objective(sharp) > objective(flat)


def test_a_query_whose_video_is_missing_is_found_at_no_k(part: EvalSplit) -> None:
    videos = {video_id: v for video_id, v in part.videos.items() if video_id != "v04"}
    (ranks,) = part.rank(natural(videos), [SHARP])
    assert ranks[4] == UNANSWERED
    assert (np.delete(ranks, 4) <= 11).all()
    assert measure(ranks, videos=500).r100 == pytest.approx(100 * 11 / 12)


def test_every_query_is_asked(part: EvalSplit) -> None:
    missing = replace(part, videos={"v00": part.videos["v00"]})
    (ranks,) = missing.rank(missing.natural, [SHARP])
    assert (ranks == UNANSWERED).sum() == 11


@pytest.mark.parametrize(("videos", "r100", "sumr"), [(100, None, 150.0), (101, 75.0, 225.0)])
def test_r_at_100_is_left_out_of_small_pools(videos: int, r100: float | None, sumr: float) -> None:
    found = measure(np.array([1, 2, 8, 400]), videos)
    assert (found.r1, found.r5, found.r10) == (25.0, 50.0, 75.0)
    assert found.r100 == r100
    assert found.sumr == sumr
    assert (found.videos, found.queries) == (videos, 4)


def test_of_several_seeds_the_mean_is_told() -> None:
    found = measure(np.array([[1, 1], [1, 90]]), videos=60)
    assert (found.r1, found.queries) == (75.0, 2)
