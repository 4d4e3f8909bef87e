"""A study fits the start once for all that agree on it: the same training, and another's never."""

from typing import Any

import pytest

from qasir.config import FinetuneParams
from qasir.modeling.retriever import Retriever, learned_state
from tests.support.planted import PlantedBackbone, finetune_params, planted
from training.study import run
from training.study.plan import image_set
from training.study.run import Starts
from training.train.trainer import Start, TrainingData, closed_form, train

IMAGES = image_set("lite", {1: 224, 2: 320})
DATA = planted(train=4, val=2)


@pytest.fixture
def fits(monkeypatch: pytest.MonkeyPatch) -> list[FinetuneParams]:
    """The parameters of every closed form that was really fitted."""
    fitted: list[FinetuneParams] = []

    def counted(params: FinetuneParams, data: TrainingData) -> Start:
        fitted.append(params)
        return closed_form(params, data)

    monkeypatch.setattr(run, "closed_form", counted)
    return fitted


def trained(params: FinetuneParams, at: Start | None = None) -> Retriever:
    return train(params, DATA, PlantedBackbone(), 8, start=at)


def test_every_seed_and_every_recipe_with_these_adapters_starts_from_one_fit(
    fits: list[FinetuneParams],
) -> None:
    starts = Starts()
    plain = finetune_params(epochs=1)
    others = [
        finetune_params(epochs=1, seed=8),
        finetune_params(epochs=0, cell_branch=False),
        finetune_params(epochs=1, retriever={"temporal_encoder": False}),
    ]
    for params in (plain, *others):
        shared = learned_state(trained(params, starts.of(IMAGES, params, DATA)))
        own = learned_state(trained(params))
        assert shared.keys() == own.keys()
        assert all(shared[name].equal(own[name]) for name in own)
    assert fits == [plain]


def test_other_images_and_other_adapters_are_fitted_anew(fits: list[FinetuneParams]) -> None:
    starts = Starts()
    changes: tuple[dict[str, Any], ...] = (
        {},
        {"retriever": {"text_adapter": False}},
        {"directions": 5},
    )
    for change in changes:
        params = finetune_params(epochs=0, **change)
        trained(params, starts.of(IMAGES, params, DATA))
    params = finetune_params(epochs=0)
    trained(params, starts.of(IMAGES[1:], params, DATA))
    assert len(fits) == len(changes) + 1
