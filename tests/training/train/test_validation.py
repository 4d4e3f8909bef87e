"""Validation scores by the served formula; weights and ratios are chosen by the stated rules."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qasir.modeling.retriever import untrained
from qasir.types import Float32, Int64
from tests.support.planted import PlantedBackbone, finetune_params, planted, spec
from tests.support.reference_scores import score_direct
from training.evaluate.corpus import encode_queries, encode_video
from training.evaluate.measures import gains
from training.train.trainable_retriever import TrainableRetriever, fold
from training.train.trainer import TrainingData
from training.train.validation import (
    Validation,
    best_ratio,
    best_weight,
    choose_weights,
    try_residual_ratios,
    validate,
)

WINDOW = 4


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def noisy_learner(data: TrainingData) -> TrainableRetriever:
    torch.manual_seed(0)
    params = finetune_params()
    trainable = TrainableRetriever(
        untrained(PlantedBackbone(), params.retriever, data.grid_sizes),
        data.provider,
        params,
        WINDOW,
    )
    with torch.no_grad():
        for parameter in trainable.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    trainable.retriever.set_residual_ratio(0.3)
    return trainable.eval()


def served_scores(trainable: TrainableRetriever, data: TrainingData, grid_size: int) -> Float32:
    """What an index of these units answers, one video and one query at a time."""
    retriever, branches = trainable.retriever, trainable.branches.at(grid_size)
    source = data.provider
    queries = encode_queries(retriever, source.queries(data.val.texts).numpy())
    columns = []
    for video_id in data.val.video_ids:
        features = getattr(source, "_features")[grid_size][video_id]  # noqa: B009 # the files
        video = encode_video(retriever, features, WINDOW, 0, spec(grid_size))
        share = branches.super_image_weight
        columns.append(
            [
                share
                * score_direct(
                    q, video.super_images.astype(np.float32), branches.tau("super-image")
                )
                + (1 - share)
                * score_direct(q, video.cells.astype(np.float32), branches.tau("cell"))
                for q in queries
            ]
        )
    return np.array(columns, np.float32).T


@torch.inference_mode()
@pytest.mark.parametrize("grid_size", [1, 2])
def test_validation_scores_what_is_served(grid_size: int) -> None:
    """Videos of twelve frames: three windows at N = 1."""
    data = planted(train=2, val=4)
    trainable = noisy_learner(data)
    ours = trainable.scores(data.val.video_ids, grid_size, trainable.queries(data.val.texts))
    np.testing.assert_allclose(ours.numpy(), served_scores(trainable, data, grid_size), atol=2e-3)


def test_ranks_are_those_of_the_scores() -> None:
    data = planted(train=2, val=4)
    trainable = noisy_learner(data)
    scores = served_scores(trainable, data, 2)
    better = scores >= scores[np.arange(16), data.val.owners][:, None]
    found = validate(trainable, data.val, (1, 2))
    assert (found.ranks[2] == better.sum(1)).mean() > 0.9
    assert found.objective == pytest.approx(np.mean(list(found.objectives.values())))


@given(count=st.integers(1, 20), window=st.integers(1, 9))
def test_folding_keeps_order_and_adds_nothing_but_zeros(count: int, window: int) -> None:
    rows = torch.arange(1.0, 2 * count + 1).view(2, count)
    folded = fold(rows, window)
    assert folded.shape[1] <= max(window, min(count, window))
    flat = folded.view(2, -1)
    assert torch.equal(flat[:, :count], rows)
    assert not flat[:, count:].any()


def test_the_best_weight_on_validation_is_set() -> None:
    data = planted(train=2, val=8)
    trainable = noisy_learner(data)
    found = {}
    for weight in (step / 10 for step in range(11)):
        trainable.branches.set_weight(2, weight)
        found[weight] = gains(validate(trainable, data.val, (2,)).ranks[2])
    choose_weights(trainable, data.val, (2,))
    chosen = trainable.branches.at(2).super_image_weight
    assert chosen == pytest.approx(best_weight(found), abs=1e-6)


@pytest.mark.parametrize(
    ("won", "lost", "best"), [(0, 0, 0.0), (2, 1, 0.0), (0, 3, 0.0), (9, 1, 0.3)]
)
def test_both_branches_have_to_beat_one_by_more_than_a_standard_error(
    won: int, lost: int, best: float
) -> None:
    """Of a hundred queries, two won and one lost are a gain of 3 with an error of 5."""
    place = np.arange(100)
    cells = np.where(place < 50, 300.0, 0.0)
    both = np.where((place >= lost) & (place < 50 + won), 300.0, 0.0)
    assert best_weight({0.0: cells, 0.3: both, 0.8: cells, 1.0: np.zeros(100)}) == best


def ranked(share: float) -> Int64:
    """A hundred queries, this share of them answered at once and the others never."""
    return np.where(np.arange(100) < 100 * share, 1, 99)


def curve(shares: dict[float, float]) -> dict[float, Validation]:
    return {ratio: Validation({1: ranked(share)}) for ratio, share in shares.items()}


@pytest.mark.parametrize(
    ("shares", "best"),
    [({0.0: 0.48, 0.1: 0.5, 0.2: 0.46}, 0.1), ({0.0: 0.5, 0.1: 0.5, 0.2: 0.5, 0.3: 0.49}, 0.2)],
)
def test_of_equally_good_ratios_the_largest_is_best(
    shares: dict[float, float], best: float
) -> None:
    assert best_ratio(curve(shares)) == best


def test_the_chosen_ratio_stays() -> None:
    data = planted(train=2, val=4)
    trainable = noisy_learner(data)
    found = try_residual_ratios(trainable, data.val, (1, 2), (0.5, 0.0, 1.0))
    assert list(found) == [0.0, 0.5, 1.0]
    assert trainable.retriever.residual_ratio == best_ratio(found)
