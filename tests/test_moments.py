"""Attention to moments: exact times, real cells, no overlap, the stretch that is worth most."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qasir.manifest import EmbeddingSpec, ScoreFusion
from qasir.moments import above_threshold, frame_similarities, moments, stretches
from qasir.types import Float32, Float64
from qasir.vectors import VideoVectors
from tests.support.vectors import random_video, unit_rows

DIM = 8
CELLS_ONLY = ScoreFusion(super_image_weight=0, super_image_tau=0.05, cell_tau=0.05)


def spec(grid_size: int) -> EmbeddingSpec:
    return EmbeddingSpec(fingerprint="f" * 16, grid_size=grid_size, resolution=64, fps=1.0)


def video_like(
    cells: list[float], grid_size: int = 2, whole: list[float] | None = None
) -> tuple[Float32, VideoVectors]:
    """A query and a video whose frames, and super images, have these similarities to it."""
    shape = random_video(np.random.default_rng(0), len(cells), 2, spec(grid_size))
    similar = np.zeros(shape.embeddings.shape[:2])
    similar[:, 0] = whole or [0] * len(shape.embeddings)
    similar[:, 1:][shape.mask] = cells
    embeddings = np.stack([similar, np.sqrt(1 - similar**2)], -1).astype(np.float16)
    query = np.array([1, 0], np.float32)
    return query, VideoVectors(shape.spec, embeddings, shape.mask, shape.times)


def test_times_are_those_of_the_frames() -> None:
    query, video = video_like([0.1] * 5 + [0.85, 0.9, 0.85] + [0.1] * 4)
    (found,) = moments(query, video, CELLS_ONLY, 3)
    assert (found.start, found.end, found.peak) == (5, 8, 6.5)
    assert (found.super_image, found.cell) == (1, 2)
    assert found.score == pytest.approx(0.9, abs=1e-3)


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    peaks, low = [0.8, 0.82, 0.8], [0.1]
    query, video = video_like(low * 6 + peaks + low + peaks + low * 6)
    assert [(m.start, m.end) for m in moments(query, video, CELLS_ONLY, 3)] == [(6, 13)]
    query, video = video_like(low * 6 + peaks + low * 20 + peaks + low * 6)
    spans = {(m.start, m.end) for m in moments(query, video, CELLS_ONLY, 3)}
    assert spans == {(6, 9), (29, 32)}


def test_the_longer_of_two_like_peaks_comes_first() -> None:
    query, video = video_like([0.1, 0.8, *[0.1] * 12, 0.8, 0.8, 0.8, 0.1])
    found = moments(query, video, CELLS_ONLY, 3)
    assert [(m.start, m.end) for m in found] == [(14, 17), (1, 2)]


def test_super_images_count_as_their_weight_says() -> None:
    """Cells alone take the single frame, super images alone the quiet but longer evidence."""
    cells = [0.1] * 4 + [0.5, 0.1, 0.1, 0.1] + [0.4] * 4
    query, video = video_like(cells, whole=[0.1, 0.1, 0.5])
    whole = CELLS_ONLY.model_copy(update={"super_image_weight": 1.0})
    assert moments(query, video, CELLS_ONLY, 1)[0].peak == 4.5
    (found,) = moments(query, video, whole, 1)
    assert (found.start, found.end, found.super_image) == (8, 12, 2)


def test_frame_similarities_by_a_loop() -> None:
    rng = np.random.default_rng(1)
    video, query = random_video(rng, 11, DIM, spec(3)), unit_rows(rng, DIM)
    branches = CELLS_ONLY.model_copy(update={"super_image_weight": 0.3})
    embeddings = video.embeddings.astype(np.float64)
    expected = [
        0.3 * embeddings[s, 0] @ query + 0.7 * embeddings[s, 1 + p] @ query
        for s in range(2)
        for p in range(9)
        if video.mask[s, p]
    ]
    assert len(expected) == 11
    np.testing.assert_allclose(frame_similarities(query, video, branches), expected, atol=1e-5)


@pytest.mark.parametrize("frames", [1, 3, 7, 10, 41])
def test_equal_frames_are_one_moment(frames: int) -> None:
    query, video = video_like([0.3] * frames)
    (found,) = moments(query, video, CELLS_ONLY, 3)
    assert (found.start, found.end) == (0, frames)


def test_flat_attention_still_has_a_peak() -> None:
    """At a high tau every frame has nearly the same weight; the best ones are the moment."""
    hot = CELLS_ONLY.model_copy(update={"cell_tau": 10.0})
    query, video = video_like([0.2, 0.21, 0.7, 0.7, 0.22, 0.2, 0.21, 0.2])
    (found,) = moments(query, video, hot, 3)
    assert (found.start, found.end) == (2, 4)


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    frames=st.integers(1, 60),
    grid_size=st.integers(1, 4),
    weight=st.floats(0, 1),
    tau=st.sampled_from([0.01, 0.1, 5.0]),
    count=st.integers(1, 5),
)
def test_moments_lie_in_the_video_and_never_overlap(
    seed: int, frames: int, grid_size: int, weight: float, tau: float, count: int
) -> None:
    rng = np.random.default_rng(seed)
    video, query = random_video(rng, frames, DIM, spec(grid_size)), unit_rows(rng, DIM)
    branches = ScoreFusion(super_image_weight=weight, super_image_tau=tau, cell_tau=tau)
    found = moments(query, video, branches, count)
    assert 1 <= len(found) <= count
    similarities = frame_similarities(query, video, branches)
    for m in found:
        assert 0 <= m.start <= m.peak <= m.end <= frames
        assert m.end > m.start
        assert video.mask[m.super_image, m.cell]
        assert video.times[m.super_image, m.cell].mean() == m.peak
        inside = similarities[int(m.start) : int(m.end)]
        assert m.score == pytest.approx(float(inside.max()), abs=1e-6)
    for one, other in combinations(found, 2):
        assert one.end <= other.start or other.end <= one.start
    # Whoever asks for fewer gets the first of them.
    assert moments(query, video, branches, 1) == found[:1]


@given(seed=st.integers(0, 10_000), frames=st.integers(1, 24), grid_size=st.integers(1, 3))
def test_padding_changes_nothing(seed: int, frames: int, grid_size: int) -> None:
    rng = np.random.default_rng(seed)
    video, query = random_video(rng, frames, DIM, spec(grid_size)), unit_rows(rng, DIM)
    embeddings, times = video.embeddings.copy(), video.times.copy()
    embeddings[:, 1:][~video.mask] = 7.0
    times[~video.mask] = -5.0
    loud = VideoVectors(video.spec, embeddings, video.mask, times)
    branches = CELLS_ONLY.model_copy(update={"super_image_weight": 0.4})
    assert moments(query, loud, branches, 3) == moments(query, video, branches, 3)


def slow_stretches(values: Float64, count: int) -> list[float]:
    """Sums of the best disjoint stretches, found by trying every stretch."""
    free, sums = np.ones(len(values), np.bool_), list[float]()
    while len(sums) < count:
        best = max(
            (
                (float(values[b:e].sum()), b, e)
                for b in range(len(values))
                for e in range(b + 1, len(values) + 1)
                if free[b:e].all()
            ),
            default=(0.0, 0, 0),
        )
        if best[0] <= 1e-9:
            break
        sums.append(best[0])
        free[best[1] : best[2]] = False
    return sums


@given(
    values=st.lists(st.integers(-9, 9), min_size=1, max_size=14),
    count=st.integers(1, 4),
)
def test_stretches_are_worth_most(values: list[int], count: int) -> None:
    """Against trying all of them; values are a little different each, so that none tie."""
    array = np.array(values) + 1e-3 * np.sqrt(1 + np.arange(len(values)))
    found = stretches(array, count)
    sums = [float(array[begin:end].sum()) for begin, end in found]
    np.testing.assert_allclose(sums, slow_stretches(array, count), atol=1e-6)
    assert sums == sorted(sums, reverse=True)


def test_equal_attention_is_all_above_the_threshold() -> None:
    """The average of equal numbers can round to more than each of them."""
    for count in (1, 3, 7, 10, 41):
        assert (above_threshold(np.full(count, 1 / count, np.float32)) > 0).all()
