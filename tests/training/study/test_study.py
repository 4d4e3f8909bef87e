"""The study: what it plans, what it remembers, and the page that is made of its results."""

import json
from pathlib import Path

import numpy as np
import pytest

from qasir.config import Params, load_params
from training.evaluate.measures import Interval
from training.study.outcome import Wanted, claim
from training.study.plan import (
    ABLATIONS,
    SEEDS,
    SERVED,
    SMALLER,
    Store,
    Trial,
    image_set,
    trials,
)
from training.study.report import PAGE, page
from training.study.run import changed
from training.study.sections import table

ROOT = Path(__file__).resolve().parents[3]
PARAMS = load_params(ROOT / "params.yaml")
GRIDS = {n: grid.resolution for n, grid in PARAMS.grids.items()}


@pytest.fixture(scope="module")
def params() -> Params:
    return PARAMS


def test_the_served_model_comes_first_and_everything_trained_has_three_seeds() -> None:
    planned = list(trials(GRIDS))
    assert (planned[0].recipe, planned[0].variant) == (SERVED, "fine-tuned")
    assert [images.grid_size for images in planned[0].measured] == [1, 2, 3, 4]
    assert {t.seeds for t in planned if t.variant == "fine-tuned"} == {SEEDS}
    assert len({json.dumps([t.key, t.sampling], sort_keys=True) for t in planned}) == len(planned)


def test_no_trial_is_planned_twice_where_another_r_is_served_already() -> None:
    planned = list(trials({**GRIDS, **SMALLER}))
    keys = [json.dumps([t.key, t.sampling], sort_keys=True) for t in planned]
    assert len(set(keys)) == len(keys)


def test_everything_trained_is_also_measured_zero_shot() -> None:
    planned = list(trials(GRIDS))
    zero_shot = {images for t in planned if t.variant == "zero-shot" for images in t.measured}
    tuned = {images for t in planned if t.variant == "fine-tuned" for images in t.measured}
    assert tuned <= zero_shot


@pytest.mark.parametrize("recipe", ABLATIONS)
def test_an_ablation_changes_what_it_says(params: Params, recipe: str) -> None:
    before = params.finetune.model_dump()
    after = changed(params.finetune, ABLATIONS[recipe]).model_dump()
    assert after != before
    for name, value in ABLATIONS[recipe].items():
        section, _, key = name.rpartition(".")
        assert (after[section] if section else after)[key] == value


def test_what_is_done_is_known_again(params: Params, tmp_path: Path) -> None:
    images = image_set("lite", GRIDS)
    trial = Trial(SERVED, "fine-tuned", images, images)
    store = Store(tmp_path, params)
    assert store.get(trial, 0) is None
    store.put(trial, 0, {"ranks": np.array([1, 7])})
    found = Store(tmp_path, params).get(trial, 0)
    assert found is not None
    assert found["ranks"].tolist() == [1, 7]
    assert store.get(trial, 1) is None
    assert store.get(Trial("another", "fine-tuned", images, images), 0) is None
    other = params.model_copy(update={"finetune": changed(params.finetune, {"epochs": 99})})
    assert Store(tmp_path, other).get(trial, 0) is None


def test_a_file_cut_short_is_not_done(params: Params, tmp_path: Path) -> None:
    images = image_set("lite", GRIDS)
    trial = Trial(SERVED, "fine-tuned", images, images)
    store = Store(tmp_path, params)
    store.put(trial, 0, {"ranks": np.arange(1000)})
    (path,) = tmp_path.glob("*.npz")
    path.write_bytes(path.read_bytes()[:100])
    assert store.get(trial, 0) is None


@pytest.mark.parametrize(
    ("low", "high", "wanted", "holds"),
    [
        (1.0, 3.0, "better", True),
        (-1.0, 3.0, "better", False),
        (-1.0, 3.0, "at least as good", True),
        (-3.0, -1.0, "at least as good", False),
    ],
)
def test_a_claim_is_read_from_its_interval(
    low: float, high: float, wanted: Wanted, holds: bool
) -> None:
    assert claim("claim", 2, Interval((low + high) / 2, low, high), wanted).holds is holds


def test_the_committed_page_is_made_of_the_committed_results() -> None:
    assert (ROOT / PAGE).read_text() == page(ROOT / "results")


def test_a_table_is_markdown() -> None:
    assert table(("a", "b"), [(1, "x")]).splitlines() == ["| a | b |", "|---|---|", "| 1 | x |"]
