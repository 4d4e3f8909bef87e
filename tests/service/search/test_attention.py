"""A query's attention over a video: the softmax of the frames' similarities, whole, in order."""

import math

import numpy as np
import pytest

from qasir.manifest import EmbeddingSpec, ScoreFusion
from service.search.attention import attend
from tests.support.service import RunningService
from tests.support.vectors import random_video, unit_rows

DIM, FRAMES = 8, 11
SPEC = EmbeddingSpec(fingerprint="f" * 16, grid_size=2, resolution=64, fps=1.0)
BRANCHES = ScoreFusion(super_image_weight=0.25, super_image_tau=0.2, cell_tau=0.04)


def test_attention_is_that_of_both_branches_frame_by_frame() -> None:
    rng = np.random.default_rng(3)
    video, query = random_video(rng, FRAMES, DIM, SPEC), unit_rows(rng, 1, DIM)[0]
    found = attend(query, "v0", video, BRANCHES)
    exponents = []
    for frame in range(FRAMES):
        whole, cell = video.embeddings[frame // 4, 0], video.embeddings[frame // 4, 1 + frame % 4]
        mixed = 0.25 * float(whole @ query) + 0.75 * float(cell @ query)
        exponents.append(math.exp(mixed / (0.25 * 0.2 + 0.75 * 0.04)))
    expected = [each / sum(exponents) for each in exponents]
    assert found.weights == pytest.approx(expected, abs=2e-3)
    assert len(found.starts) == len(found.ends) == FRAMES
    assert (found.grid_size, found.super_image_count) == (2, 3)
    best = found.moments[0]
    strongest = found.weights.index(max(found.weights))
    assert (best.super_image, best.cell) == divmod(strongest, 4)


def test_attention_of_a_long_video_still_adds_up_to_one() -> None:
    rng = np.random.default_rng(4)
    video, query = random_video(rng, 4000, DIM, SPEC), unit_rows(rng, 1, DIM)[0]
    told = attend(query, "v0", video, BRANCHES)
    assert sum(told.weights) == pytest.approx(1, abs=0.01)
    assert told.starts == sorted(told.starts)
    assert all(start < end for start, end in zip(told.starts, told.ends, strict=True))


def test_moments_are_those_that_a_search_answers(running_service: RunningService) -> None:
    video_id = running_service.ingested(40)
    (hit,) = [r for r in running_service.search()["results"] if r["video"]["id"] == video_id]
    url = f"/v1/videos/{video_id}/attention"
    told = running_service.http.post(url, json={"query": "a red ball"}).json()
    assert len(told["weights"]) == len(told["starts"]) == 40
    spans = [[(m["start"], m["end"]) for m in found["moments"]] for found in (told, hit)]
    assert spans[0] == spans[1]


def test_attention_to_an_example_is_in_the_example(running_service: RunningService) -> None:
    video_id = running_service.ingested(40)
    example = {"video_id": video_id, "start": 20, "end": 24}
    url = f"/v1/videos/{video_id}/attention"
    told = running_service.http.post(url, json={"example": example}).json()
    inside = sum(told["weights"][20:24])
    assert inside / 4 > sum(told["weights"]) / 40
