"""Files of a history: equal for equal courses, complete after an interruption, no clock in them."""

import json
import subprocess
from pathlib import Path

import pytest

from qasir.manifest import ScoreFusion
from training.train.history import CURVES_NAME, RATIOS_NAME, Epoch, HistoryLog, TrainingHistory

BRANCHES = {
    n: ScoreFusion(super_image_weight=0.5, super_image_tau=0.07, cell_tau=0.05) for n in (1, 2)
}


def epoch(number: int, *objectives: float) -> Epoch:
    loss = 1 / number if number else None
    return Epoch(number, loss, dict(enumerate(objectives, start=1)), BRANCHES, 20.0)


def write(folder: Path, history: TrainingHistory) -> dict[str, bytes]:
    log = HistoryLog(folder)
    for row in history.epochs:
        log.log_epoch(row)
    log.finish(history)
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def history() -> TrainingHistory:
    epochs = [epoch(0, 150.0, 100.0), epoch(1, 170.0, 120.0), epoch(2, 160.0, 120.0)]
    return TrainingHistory(epochs, {0.0: 145.0, 0.2: 144.0}, 0.2)


def test_best_is_the_first_of_equals_and_without_validation_the_last() -> None:
    assert TrainingHistory([epoch(0, 1.0), epoch(1, 3.0), epoch(2, 3.0)]).best.number == 1
    assert TrainingHistory([epoch(0), epoch(1)]).best.number == 1
    assert epoch(1, 10.0, 20.0).objective == 15.0


def test_equal_courses_leave_equal_files(tmp_path: Path) -> None:
    first, second = (write(tmp_path / name, history()) for name in ("a", "b"))
    assert first == second
    assert {CURVES_NAME, RATIOS_NAME, "metrics.json"} <= set(first)
    assert not any(name.endswith((".html", ".yaml")) for name in first)


def test_a_new_training_replaces_the_files_of_the_last(tmp_path: Path) -> None:
    longer = history()
    longer.epochs.append(epoch(3, 100.0, 100.0))
    write(tmp_path / "a", longer)
    assert write(tmp_path / "a", history()) == write(tmp_path / "b", history())


def test_numbers_by_step_and_in_the_end(tmp_path: Path) -> None:
    files = write(tmp_path, history())
    last = json.loads(files["metrics.json"])
    assert last["step"] == 2
    assert last["objective"] == {"mean": 140.0, "N1": 160.0, "N2": 120.0}
    rows = files["plots/metrics/objective/mean.tsv"].decode().splitlines()
    assert rows == ["step\tmean", "0\t125.0", "1\t145.0", "2\t140.0"]
    assert files["plots/metrics/loss.tsv"].decode().splitlines()[1:] == ["1\t1.0", "2\t0.5"]
    assert json.loads(files[RATIOS_NAME]) == [
        {"ratio": 0.0, "objective": 145.0},
        {"ratio": 0.2, "objective": 144.0},
    ]


def test_a_repository_without_a_commit_is_no_hindrance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    (tmp_path / ".dvc").mkdir()
    monkeypatch.chdir(tmp_path)
    assert write(Path("history"), history()) == write(tmp_path.parent / "elsewhere", history())


@pytest.mark.parametrize("epochs", [[epoch(0), epoch(1)], [epoch(0, 10.0)]])
def test_short_courses_are_drawn_too(tmp_path: Path, epochs: list[Epoch]) -> None:
    assert CURVES_NAME in write(tmp_path, TrainingHistory(epochs))
