"""What the stage leaves: metrics of what is served, and pictures that never flicker."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from qasir.scoring import Pooling
from training.data.dataset import Query
from training.evaluate.evaluate import metrics, publish_training, write_results
from training.evaluate.fusion import DEFAULT, BranchChoice, Curve
from training.evaluate.measures import Interval, Measures
from training.evaluate.rows import (
    Configuration,
    GroupRow,
    LengthRow,
    LocalisationRow,
    Sampling,
    StudyRow,
    Variant,
)
from training.evaluate.scores import POOLINGS, UNITS, Unit
from training.evaluate.variant import Evaluation

FILES = {
    *("metrics.json", "evaluation.json", "lengths.json", "groups.json", "localisation.json"),
    "failures.json",
    *("grids.svg", "poolings.svg", "sampling.svg", "lengths.svg", "groups.svg", "branches.svg"),
}
QUERIES = [Query(f"v{i}#enc#0", f"v{i}", "a dog", 0.0, 4.0, 36.0) for i in range(3)]
VARIANTS: tuple[Variant, ...] = ("zero-shot", "fine-tuned")


def measures(r1: float) -> Measures:
    return Measures(60, 480, r1, 2 * r1, 3 * r1, None, 6 * r1)


def study_row(
    variant: Variant, n: int, unit: Unit, pooling: Pooling, sampling: Sampling
) -> StudyRow:
    r1 = 5.0 * n + len(variant) + len(unit)
    configuration = Configuration(
        dataset="demo",
        split="test",
        backbone="lite",
        variant=variant,
        recipe="",
        pooling=pooling,
        unit=unit,
        sampling=sampling,
        grid_size=n,
        resolution=224,
        fps=1.0,
    )
    return StudyRow(
        **vars(configuration),
        **vars(measures(r1)),
        objective=Interval(6 * r1, 5 * r1, 7 * r1),
        encodes_per_video=36 / n**2,
        gmacs_per_video=3.6 / n,
        seeds=1,
    )


def evaluation() -> Evaluation:
    result = Evaluation()
    for variant, n in product(VARIANTS, (1, 2)):
        for unit, pooling in product(UNITS, POOLINGS):
            result.study.append(study_row(variant, n, unit, pooling, "super-image"))
        result.study.append(study_row(variant, n, "super-image", "attention", "sparse"))
        for length, size in (("natural", 9.0), (100, 109.0), ("mixed", 40.0)):
            row = LengthRow(variant, n, "both", "attention", length, size, measures(20.0))
            result.lengths.append(row)
        interval = Interval(60.0, 50.0, 70.0)
        result.groups.append(GroupRow(variant, n, "M/V (0, 0.2]", measures(10.0), interval))
        result.localisation.append(LocalisationRow(variant, n, 480, 30.0, 40.0, 20.0, 10.0))
        result.served.setdefault(variant, {})[n] = measures(10.0 * n)
        result.ranks.setdefault(variant, {})[n] = {"served": np.array([n, 7 * n, 3])}
    return result


CURVES = tuple(
    Curve(n, "mixed", knob, {0.1: 90.0, 0.5: 80.0, 0.05: 70.0})
    for n in (1, 2)
    for knob in ("super_image_tau", "cell_tau", "super_image_weight")
)
CHOICE = BranchChoice({1: DEFAULT, 2: DEFAULT}, "validation", CURVES)


def test_metrics_are_those_of_what_is_served() -> None:
    found = metrics(evaluation())
    assert set(found) == {"zero-shot", "fine-tuned"}
    assert found["zero-shot"] == {
        1: {"r1": 10.0, "r5": 20.0, "r10": 30.0, "sumr": 60.0},
        2: {"r1": 20.0, "r5": 40.0, "r10": 60.0, "sumr": 120.0},
    }


def test_r_at_100_is_there_where_the_pool_is_large() -> None:
    large = Measures(600, 480, 10.0, 20.0, 30.0, 80.0, 140.0)
    assert metrics(Evaluation(served={"zero-shot": {1: large}}))["zero-shot"][1]["r100"] == 80.0


@pytest.mark.slow
@pytest.mark.parametrize("choice", [CHOICE, BranchChoice({1: DEFAULT}, "default", ())])
def test_equal_numbers_leave_equal_bytes(tmp_path: Path, choice: BranchChoice) -> None:
    contents = []
    for name in ("first", "second"):
        write_results(evaluation(), choice, QUERIES, 2, tmp_path / name)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name).glob("*.*")})
    assert contents[0] == contents[1]
    assert set(contents[0]) == FILES
    assert json.loads(contents[0]["evaluation.json"])[0]["sampling"] == "super-image"
    worst = json.loads(contents[0]["failures.json"])[0]
    assert (worst["query_id"], worst["rank"], worst["finest_rank"]) == ("v1#enc#0", 14, 7)


@pytest.mark.slow
def test_pictures_are_svg_without_a_date(tmp_path: Path) -> None:
    write_results(evaluation(), CHOICE, QUERIES, 2, tmp_path)
    for path in tmp_path.glob("*.svg"):
        text = path.read_text()
        assert text.rstrip().endswith("</svg>")
        assert "dc:date" not in text


def test_the_training_curves_replace_those_of_an_earlier_run(tmp_path: Path) -> None:
    for name in ("log", "results/training"):
        (tmp_path / name / "plots").mkdir(parents=True)
    (tmp_path / "log/plots/loss.tsv").write_text("step\tloss\n")
    (tmp_path / "results/training/plots/old.tsv").write_text("gone")
    publish_training(tmp_path / "log", tmp_path / "results")
    assert [p.name for p in (tmp_path / "results/training/plots").iterdir()] == ["loss.tsv"]
