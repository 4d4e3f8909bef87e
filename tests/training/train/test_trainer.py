"""Training on a planted world: it learns, it is exact, and it goes on where it was stopped."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from qasir.errors import InvalidInput
from qasir.modeling.retriever import Retriever, learned_state
from tests.support.planted import PlantedBackbone, finetune_params, planted
from training.train.batches import CaptionDataset, VideoBatch
from training.train.history import Epoch, TrainingHistory
from training.train.trainable_retriever import (
    TrainableRetriever,
    learning_rate,
    new_optimizer,
)
from training.train.trainer import TrainingData, closed_form, new_trainable, train
from training.train.validation import validate

WINDOW = 8
NO_VIDEOS = CaptionDataset((), (), np.zeros(0, np.int64))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Models this small wait for threads more than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def run(data: TrainingData, **options: Any) -> tuple[Retriever, TrainingHistory]:
    """Train with changed parameters; `state` and `listener` go to `train`."""
    own = {name: options.pop(name) for name in ("state", "listener") if name in options}
    history = TrainingHistory()
    params = finetune_params(**options)
    return train(params, data, PlantedBackbone(), WINDOW, history=history, **own), history


def same(ours: Retriever, theirs: Retriever) -> bool:
    states = learned_state(ours), learned_state(theirs)
    equal = all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    return equal and states[0].keys() == states[1].keys() and ours.branches == theirs.branches


def objective(retriever: Retriever, data: TrainingData) -> float:
    """On validation, as it would be served."""
    trainable = TrainableRetriever(retriever, data.provider, finetune_params(), WINDOW)
    for grid_size, branches in retriever.branches.items():
        trainable.branches.set_weight(grid_size, branches.super_image_weight)
    return validate(trainable, data.val, data.grid_sizes).objective


def test_it_learns_what_zero_shot_does_not_know() -> None:
    """Chance is 175 among eight videos."""
    data = planted()
    retriever, history = run(data)
    learned = objective(retriever, data)
    assert learned == pytest.approx(history.ratios[retriever.residual_ratio])
    retriever.set_residual_ratio(1.0)
    assert learned > 220 > 200 > objective(retriever, data)
    assert set(retriever.branches) == {1, 2}


def test_gradient_steps_lower_the_loss() -> None:
    _, history = run(planted(), epochs=6, patience=6, learning_rate=1e-2)
    losses = [epoch.loss for epoch in history.epochs if epoch.loss is not None]
    assert losses[-1] < losses[0]


def test_equal_seeds_give_equal_weights_and_others_do_not() -> None:
    data = planted()
    first, again, other = run(data)[0], run(data)[0], run(data, seed=8)[0]
    assert same(first, again)
    assert not same(first, other)


class Stopped(Exception):
    """Stands for the power cut."""


@pytest.mark.parametrize("after", [0, 1, 2])
def test_an_interrupted_training_ends_the_same(tmp_path: Path, after: int) -> None:
    data, state = planted(), tmp_path / "state"
    whole, whole_course = run(data)

    def stop(epoch: Epoch) -> None:
        if epoch.number > after:
            raise Stopped

    with pytest.raises(Stopped):
        run(data, state=state, listener=stop)
    heard: list[int] = []
    resumed, history = run(data, state=state, listener=lambda epoch: heard.append(epoch.number))
    assert same(whole, resumed)
    assert history.epochs == whole_course.epochs
    assert heard == [epoch.number for epoch in whole_course.epochs]
    assert not state.exists()


def test_a_state_of_other_parameters_or_a_damaged_one_is_not_taken_up(tmp_path: Path) -> None:
    data, state = planted(), tmp_path / "state"

    def stop(epoch: Epoch) -> None:
        if epoch.number > 1:
            raise Stopped

    with pytest.raises(Stopped):
        run(data, state=state, listener=stop, learning_rate=0.1)
    assert state.is_file()
    assert same(run(data, state=state)[0], run(data)[0])
    state.write_bytes(b"cut short")
    assert same(run(data, state=state)[0], run(data)[0])


def test_the_best_epoch_is_kept_and_waiting_has_an_end() -> None:
    """Steps far too large: everything after the start is worse."""
    data = planted()
    retriever, history = run(
        data,
        epochs=9,
        patience=2,
        learning_rate=5.0,
        adapter_rate=1.0,
        warm_up=0,
        gradient_norm=100.0,
    )
    assert history.best.number == 0
    assert history.epochs[-1].number == 2
    start = new_trainable(finetune_params(), data, PlantedBackbone(), WINDOW)
    closed_form(finetune_params(), data)(start)
    weights = learned_state(retriever), learned_state(start.retriever)
    name = "video.learned.adapter.weight"
    assert torch.equal(weights[0][name], weights[1][name])


def test_without_a_validation_split_the_last_epoch_is_kept() -> None:
    data = replace(planted(), val=NO_VIDEOS)
    retriever, history = run(data, epochs=2, patience=1)
    assert [epoch.number for epoch in history.epochs] == [0, 1, 2]
    assert history.best.number == 2
    assert history.best.objective is None
    assert retriever.residual_ratio == 0
    assert history.ratios == {}


@pytest.mark.parametrize("videos", [0, 1])
def test_without_two_train_videos_it_says_what_to_do(videos: int) -> None:
    """One video has no negatives."""
    train = CaptionDataset(("a",), ("a dog",), np.zeros(1, np.int64)) if videos else NO_VIDEOS
    with pytest.raises(InvalidInput, match=rf"{videos} videos.*prepare\.dataset"):
        run(replace(planted(), train=train))


@pytest.mark.parametrize(
    "without",
    [
        {"retriever": {"image_adapter": False}},
        {"retriever": {"text_adapter": False}},
        {"retriever": {"image_adapter": False, "text_adapter": False}},
        {"retriever": {"temporal_encoder": False}},
        {"retriever": {"grid_embedding": False}},
        {"super_image_branch": False},
        {"cell_branch": False},
        {"familiarity": False},
        {"residual_ratios": [0.0]},
        {"triplet": {"weight": 1.0, "margin": 0.2, "hardest": 2, "warm_up": 0}},
    ],
)
def test_every_part_can_be_left_out(without: dict[str, Any]) -> None:
    retriever, history = run(planted(train=8, val=4), epochs=1, **without)
    assert all(np.isfinite(epoch.objective or np.nan) for epoch in history.epochs)
    weights = {branches.super_image_weight for branches in retriever.branches.values()}
    if without.get("super_image_branch") is False:
        assert weights == {0.0}
    if without.get("cell_branch") is False:
        assert weights == {1.0}
    if without.get("residual_ratios") == [0.0]:
        assert retriever.residual_ratio == 0


def test_one_grid_size_alone_can_be_trained() -> None:
    retriever, _ = run(planted((2,), train=8, val=4), epochs=1)
    assert set(retriever.branches) == {2}


def test_the_largest_ratio_that_costs_nothing_is_chosen() -> None:
    retriever, history = run(planted())
    best = max(history.ratios.values())
    assert list(history.ratios) == [0.0, 0.2, 0.4, 0.6]
    assert retriever.residual_ratio == history.chosen_ratio
    assert history.ratios[retriever.residual_ratio] <= best


class Towers:
    """A source with something to train: what it gives is scaled by a parameter."""

    def __init__(self, data: TrainingData) -> None:
        self.towers: nn.Module | None = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(next(self.towers.parameters()))
        self._source = data.provider

    def videos(self, video_ids: Any, grid_size: int) -> VideoBatch:
        batch = self._source.videos(video_ids, grid_size)
        return VideoBatch(batch.features * self.scale(), batch.mask, None)

    def queries(self, texts: Any) -> Tensor:
        return self._source.queries(texts)

    def scale(self) -> Tensor:
        assert self.towers is not None
        return next(self.towers.parameters()).exp()


def test_towers_of_a_source_are_trained_and_resumed(tmp_path: Path) -> None:
    data, state = planted(train=8, val=4), tmp_path / "state"
    tuning = finetune_params().tuning.model_dump() | {"learning_rate": 0.1}

    def end_of(stop_first: bool) -> float:
        towers = Towers(data)
        if stop_first:
            live = replace(data, provider=towers, val=NO_VIDEOS)
            with pytest.raises(Stopped):
                run(live, state=state, listener=stop, tuning=tuning)
            towers = Towers(data)
        start = towers.scale().item()
        _, history = run(replace(data, provider=towers, val=NO_VIDEOS), state=state, tuning=tuning)
        assert history.epochs[-1].number == 3
        assert towers.scale().item() != start
        return towers.scale().item()

    def stop(epoch: Epoch) -> None:
        if epoch.number > 1:
            raise Stopped

    assert end_of(stop_first=False) == end_of(stop_first=True)


def test_rates_rise_and_fall_and_each_kind_has_its_own() -> None:
    params = finetune_params(epochs=4, warm_up=1)
    rates = [learning_rate(params, epochs) for epochs in (0.5, 1.0, 2.5, 4.0)]
    assert rates == pytest.approx([5e-4, 1e-3, 5e-4, 0.0])
    trainable = new_trainable(params, planted(train=4, val=2), PlantedBackbone(), WINDOW)
    groups = new_optimizer(trainable, params).param_groups
    assert {group["share"] for group in groups} == {params.adapter_rate, 5.0, 1.0}
    trained = sum(p.numel() for group in groups for p in group["params"])
    assert trained == sum(p.numel() for p in trainable.parameters() if p.requires_grad)
