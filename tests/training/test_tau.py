"""The temperature: best on average, chosen on validation, never from nothing."""

from dataclasses import replace
from pathlib import Path

import pytest

from qasir.config import EvaluateParams
from qasir.errors import CorruptArtifact
from training.parts import Part
from training.tau import DEFAULT_TAU, Curve, choose, choose_tau, mean_curve, read_tau, write_tau

PARAMS = EvaluateParams(taus=(0.02, 0.2, 5.0), lengths=(20,), moment_ratio_edges=(0.2,), seed=1)


def test_the_best_mean_over_all_curves_wins() -> None:
    curves = [Curve(1, "100", {0.1: 90, 0.2: 80}), Curve(2, "100", {0.1: 10, 0.2: 60})]
    assert mean_curve(curves) == {0.1: 50, 0.2: 70}
    assert choose(curves).tau == 0.2


def test_of_equals_the_smaller_is_taken() -> None:
    assert choose([Curve(1, "100", {0.5: 50.0, 0.1: 50.0, 0.9: 1.0})]).tau == 0.1


def test_without_validation_the_default_is_named_as_such() -> None:
    choice = choose_tau([], PARAMS)
    assert (choice.tau, choice.chosen_on, choice.curves) == (DEFAULT_TAU, "default", ())


def test_it_is_chosen_on_lengthened_and_mixed_pools(part: Part) -> None:
    choice = choose_tau([part], PARAMS)
    assert [curve.pool for curve in choice.curves] == ["20", "mixed"]
    assert choice.chosen_on == "validation"
    # Twenty units of filler drown a mean: a sharp attention has to win.
    assert choice.tau == 0.02


def test_without_filler_the_videos_as_they_are_have_to_do(part: Part) -> None:
    choice = choose_tau([replace(part, filler=None)], PARAMS)
    assert [curve.pool for curve in choice.curves] == ["natural"]


def test_what_is_written_is_read(part: Part, tmp_path: Path) -> None:
    write_tau(choose_tau([part], PARAMS), tmp_path / "tau.json")
    assert read_tau(tmp_path / "tau.json") == 0.02


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"tau": "warm"}'])
def test_a_file_without_a_tau_names_the_next_step(tmp_path: Path, text: str) -> None:
    (tmp_path / "tau.json").write_text(text)
    with pytest.raises(CorruptArtifact, match="dvc repro evaluate"):
        read_tau(tmp_path / "tau.json")
