"""Branches: the best on average, chosen on validation, never from nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from qasir.config import EvaluateParams
from qasir.errors import CorruptArtifact
from qasir.manifest import ScoreFusion
from training.evaluate import scores
from training.evaluate.corpus import EvalSplit
from training.evaluate.fusion import (
    DEFAULT,
    Curve,
    best_value,
    choose_branches,
    mean_curve,
    read_branches,
    write_branches,
)
from training.evaluate.measures import objective
from training.evaluate.scores import Setting, long_pools

PARAMS = EvaluateParams(taus=(0.02, 0.2, 5.0), lengths=(21,), moment_ratio_edges=(0.2,), seed=1)


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scores, "BLOCK", 3)


def test_the_best_mean_over_the_curves_of_a_knob_wins() -> None:
    curves = [
        Curve(1, "100", "cell_tau", {0.1: 90, 0.2: 80}),
        Curve(1, "mixed", "cell_tau", {0.1: 10, 0.2: 60}),
        Curve(1, "mixed", "super_image_tau", {0.1: 500, 0.2: 0}),
    ]
    assert mean_curve(curves[:2]) == {0.1: 50, 0.2: 70}
    assert best_value(curves, "cell_tau") == 0.2


def test_of_equals_the_smaller_tau_and_the_weight_nearest_a_half() -> None:
    equal = {0.5: 50.0, 0.1: 50.0, 0.9: 1.0}
    assert best_value([Curve(1, "mixed", "cell_tau", equal)], "cell_tau") == 0.1
    weights = {0.0: 50.0, 0.6: 50.0, 1.0: 50.0}
    assert best_value([Curve(1, "x", "super_image_weight", weights)], "super_image_weight") == 0.6


def test_without_validation_the_default_is_named_as_such(part: EvalSplit) -> None:
    choice = choose_branches([replace(part, queries=[])], PARAMS)
    assert (choice.branches, choice.chosen_on, choice.curves) == ({2: DEFAULT}, "default", ())


def test_they_are_chosen_on_lengthened_and_mixed_pools(part: EvalSplit) -> None:
    choice = choose_branches([part], PARAMS)
    assert [(c.pool, c.knob) for c in choice.curves] == [
        *[(pool, "super_image_tau") for pool in ("21", "mixed")],
        *[(pool, "cell_tau") for pool in ("21", "mixed")],
        *[(pool, "super_image_weight") for pool in ("21", "mixed")],
    ]
    assert choice.chosen_on == "validation"
    # Frames were asked for, and blocks of filler drown a mean: cells, sharply attended to.
    assert choice.branches[2].cell_tau == 0.02
    assert choice.branches[2].super_image_weight < 0.5


def test_the_choice_is_the_best_of_what_a_search_would_score(part: EvalSplit) -> None:
    choice = choose_branches([part], PARAMS)
    values = {}
    for weight in (0.0, 0.1, 0.5, 1.0):
        branches = choice.branches[2].model_copy(update={"super_image_weight": weight})
        setting = Setting("both", "attention", branches)
        pools = long_pools(part.videos, part.filler, PARAMS.lengths, PARAMS.seed)
        found = [objective(part.rank(pool, [setting])[0]) for _, pool in pools]
        values[weight] = sum(found) / len(found)
    curves = [c for c in choice.curves if c.knob == "super_image_weight"]
    assert {w: mean_curve(curves)[w] for w in values} == pytest.approx(values)


def test_without_filler_the_videos_as_they_are_have_to_do(part: EvalSplit) -> None:
    choice = choose_branches([replace(part, filler=None)], PARAMS)
    assert {curve.pool for curve in choice.curves} == {"natural"}


def test_what_is_written_is_read(tmp_path: Path) -> None:
    path = tmp_path / "branches.json"
    tuned = ScoreFusion(super_image_weight=0.25, super_image_tau=0.1, cell_tau=0.07)
    write_branches({2: tuned, 1: DEFAULT}, path)
    assert read_branches(path) == {1: DEFAULT, 2: tuned}


@pytest.mark.parametrize("text", ["", "[]", "3", '{"zero-shot": {}}', '{"1": {"cell_tau": 0}}'])
def test_a_file_of_something_else_names_the_next_step(tmp_path: Path, text: str) -> None:
    (tmp_path / "branches.json").write_text(text)
    with pytest.raises(CorruptArtifact, match=r"(?s)branches\.json: .*dvc repro evaluate"):
        read_branches(tmp_path / "branches.json")
