"""What the stage leaves: metrics of what is served, and pictures that never flicker."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from qasir.scoring import Pooling
from training.measures import Measures
from training.results import Evaluation, metrics, write_results
from training.study import LengthRow, Sampling, StudyRow
from training.tau import Curve, TauChoice

FILES = {
    *("metrics.json", "study.json", "lengths.json", "groups.json", "ranks"),
    *("poolings.svg", "sampling.svg", "lengths.svg", "tau.svg"),
}


def study_row(grid_size: int, pooling: Pooling, sampling: Sampling, r1: float) -> StudyRow:
    return StudyRow(
        dataset="demo",
        split="test",
        backbone="lite",
        variant="zero-shot",
        pooling=pooling,
        unit="super-image",
        sampling=sampling,
        grid_size=grid_size,
        resolution=224,
        fps=1.0,
        videos=60,
        queries=480,
        r1=r1,
        r5=2 * r1,
        r10=3 * r1,
        r100=None,
        sumr=6 * r1,
        encodes_per_video=36 / grid_size**2,
        gmacs_per_video=None,
        seeds=1,
    )


def evaluation() -> Evaluation:
    poolings: tuple[Pooling, ...] = ("attention", "mean", "max")
    study = [study_row(n, p, "super-image", 10.0 * n) for n in (1, 2) for p in poolings]
    study += [study_row(2, p, "sparse", 5.0) for p in poolings]
    measures = Measures(60, 480, 10.0, 20.0, 30.0, None, 60.0)
    lengths = [LengthRow(n, "attention", 100, 100.0, measures) for n in (1, 2)]
    return Evaluation(study, lengths, [], {})


CHOICE = TauChoice(0.1, "validation", (Curve(1, "mixed", {0.1: 90.0, 0.2: 80.0}),))


def test_metrics_are_those_of_attention_over_super_images() -> None:
    assert metrics(evaluation().study) == {
        "zero-shot": {
            1: {"r1": 10.0, "r5": 20.0, "r10": 30.0, "sumr": 60.0},
            2: {"r1": 20.0, "r5": 40.0, "r10": 60.0, "sumr": 120.0},
        }
    }


def test_r_at_100_is_there_where_the_pool_is_large() -> None:
    rows = [replace(study_row(1, "attention", "super-image", 10.0), r100=80.0)]
    assert metrics(rows)["zero-shot"][1]["r100"] == 80.0


@pytest.mark.parametrize("choice", [CHOICE, TauChoice(0.05, "default", ())])
def test_equal_numbers_leave_equal_bytes(tmp_path: Path, choice: TauChoice) -> None:
    contents = []
    for name in ("first", "second"):
        write_results(evaluation(), choice, {}, tmp_path / name)
        contents.append({p.name: p.read_bytes() for p in (tmp_path / name).glob("*.*")})
    assert contents[0] == contents[1]
    assert set(contents[0]) == FILES - {"ranks"}
    assert json.loads(contents[0]["study.json"])[0]["sampling"] == "super-image"


def test_pictures_are_svg_without_a_date(tmp_path: Path) -> None:
    write_results(evaluation(), CHOICE, {}, tmp_path)
    for path in tmp_path.glob("*.svg"):
        text = path.read_text()
        assert text.rstrip().endswith("</svg>")
        assert "dc:date" not in text
