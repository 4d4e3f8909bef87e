"""Ranks through the served index, against scores worked out one by one."""

from dataclasses import replace

import numpy as np
import pytest

from qasir.scoring import Pooling, score_direct
from training import measures
from training.measures import UNANSWERED, Setting, measure, objective, rank_queries
from training.parts import Part
from training.pools import natural

SETTINGS = [Setting("attention", 0.05), Setting("attention", 1.0), Setting("mean", 0.05)]


def slow_rank(part: Part, query: int, pooling: Pooling, tau: float) -> int:
    scores = {
        video_id: score_direct(
            part.query_vectors[query], video.vectors.astype(np.float32), tau, pooling
        )
        for video_id, video in part.videos.items()
    }
    own = scores[part.queries[query].video_id]
    return sum(score >= own - 1e-7 for score in scores.values())


@pytest.mark.parametrize("chunk", [1, 10, 100_000])
def test_ranks_equal_the_slow_ones_whatever_the_chunk(
    part: Part, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(measures, "CHUNK_SUPER_IMAGES", chunk)
    found = part.rank(natural(part.videos), SETTINGS)
    for setting, ranks in zip(SETTINGS, found, strict=True):
        expected = [slow_rank(part, q, setting.pooling, setting.tau) for q in range(12)]
        assert ranks.tolist() == expected
    assert objective(found[0]) > objective(found[2])


def test_a_query_whose_video_is_missing_is_found_at_no_k(part: Part) -> None:
    videos = {video_id: v for video_id, v in part.videos.items() if video_id != "v04"}
    (ranks,) = rank_queries(part.queries, part.query_vectors, natural(videos), SETTINGS[:1])
    assert ranks[4] == UNANSWERED
    assert (np.delete(ranks, 4) <= 11).all()
    assert measure(ranks, videos=500).r100 == pytest.approx(100 * 11 / 12)


def test_every_query_is_asked(part: Part) -> None:
    missing = replace(part, videos={"v00": part.videos["v00"]})
    (ranks,) = missing.rank(natural(missing.videos), SETTINGS[:1])
    assert (ranks == UNANSWERED).sum() == 11


@pytest.mark.parametrize(("videos", "r100", "sumr"), [(100, None, 150.0), (101, 75.0, 225.0)])
def test_r_at_100_is_left_out_of_small_pools(videos: int, r100: float | None, sumr: float) -> None:
    found = measure(np.array([1, 2, 8, 400]), videos)
    assert (found.r1, found.r5, found.r10) == (25.0, 50.0, 75.0)
    assert found.r100 == r100
    assert found.sumr == sumr
    assert (found.videos, found.queries) == (videos, 4)
