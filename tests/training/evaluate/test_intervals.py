"""Intervals against a resampler of plain Python and against the theory of means."""

import random
import statistics

import numpy as np
import pytest

from qasir.errors import InvalidInput
from qasir.metrics import sum_r
from qasir.types import Float64
from training.evaluate import measures
from training.evaluate.measures import difference, gains, interval, resampled_means


def slow_interval(values: list[float], resamples: int) -> tuple[float, float]:
    """The percentile bootstrap as a textbook writes it, with another generator."""
    generator = random.Random(1)
    means = sorted(
        statistics.fmean(generator.choices(values, k=len(values))) for _ in range(resamples)
    )
    return means[round(0.025 * resamples)], means[round(0.975 * resamples) - 1]


def recalls(seed: int, size: int, best: int = 30) -> Float64:
    """Gains of `size` random ranks of 1 to `best`."""
    return gains(np.random.default_rng(seed).integers(1, best + 1, size))


def test_gains_add_up_to_the_recalls() -> None:
    ranks = np.array([1, 2, 5, 6, 10, 11, 400])
    assert gains(ranks).mean() == pytest.approx(sum_r(ranks, (1, 5, 10)))
    assert gains(ranks, (5,)).mean() == pytest.approx(sum_r(ranks, (5,)))


@pytest.mark.parametrize(("seed", "size"), [(1, 40), (2, 480)])
def test_it_is_the_textbook_interval(seed: int, size: int) -> None:
    values = recalls(seed, size)
    found = interval(values)
    low, high = slow_interval(values.tolist(), 4000)
    width = high - low
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(low, abs=0.06 * width)
    assert found.high == pytest.approx(high, abs=0.06 * width)


def test_of_many_queries_it_is_the_normal_interval() -> None:
    values = recalls(3, 5000)
    error = values.std() / np.sqrt(len(values))
    assert resampled_means(values).std() == pytest.approx(error, rel=0.05)
    assert interval(values).low == pytest.approx(values.mean() - 1.96 * error, abs=0.2 * error)


def test_it_covers_the_truth_about_19_times_of_20() -> None:
    truth = 100 * (1 / 30 + 5 / 30 + 10 / 30)
    found = [interval(recalls(seed, 200)) for seed in range(200)]
    covered = sum(one.low <= truth <= one.high for one in found)
    assert 180 <= covered <= 199


def test_seeds_are_averaged_queries_are_resampled() -> None:
    first, second = recalls(4, 100), recalls(5, 100)
    assert interval(np.stack([first, first])) == interval(first)
    both = interval(np.stack([first, second]))
    assert both == interval((first + second) / 2)
    # Drawing seeds and queries alike as 200 values would claim more than 100 queries tell.
    assert np.isclose(both.value, np.concatenate([first, second]).mean())


def test_a_difference_is_paired() -> None:
    ours = recalls(6, 300)
    worse = np.maximum(ours - 100.0 * (np.arange(300) % 10 == 0), 0)
    found = difference(ours, worse)
    assert found.value == pytest.approx((ours - worse).mean())
    assert found.above_zero
    # Unpaired, the same two samples cannot be told apart.
    assert interval(ours).low < interval(worse).high


def test_a_difference_of_unequal_seeds_weighs_queries_alike() -> None:
    ours, theirs = np.stack([recalls(s, 50) for s in range(3)]), recalls(9, 50)
    assert difference(ours, theirs) == interval(ours.mean(axis=0) - theirs)


@pytest.mark.parametrize(
    ("low", "high", "reaches", "above"),
    [(-3.0, -1.0, False, False), (-1.0, 0.0, True, False), (0.5, 2.0, True, True)],
)
def test_what_an_interval_says(low: float, high: float, reaches: bool, above: bool) -> None:
    found = measures.Interval(0.0, low, high)
    assert (found.reaches_zero, found.above_zero) == (reaches, above)


def test_the_chunk_only_bounds_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = resampled_means(recalls(1, 64))
    monkeypatch.setattr(measures, "CHUNK", 1000)
    assert np.array_equal(resampled_means(recalls(1, 64)), whole)


def test_other_queries_and_no_queries_are_refused() -> None:
    with pytest.raises(InvalidInput, match="480 and 30 queries cannot be paired"):
        difference(recalls(1, 480), recalls(1, 30))
    with pytest.raises(InvalidInput, match="0 queries"):
        interval(np.empty(0))
