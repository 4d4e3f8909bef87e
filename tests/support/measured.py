"""A folder of measured results, as `make study` and `make bench` write it."""

import json
from pathlib import Path
from typing import Any

import pytest


def study_row(grid_size: int, resolution: int, r5: float, **changes: Any) -> dict[str, Any]:
    row = {
        "dataset": "demo",
        "backbone": "lite",
        "variant": "fine-tuned",
        "recipe": "",
        "pooling": "attention",
        "unit": "both",
        "sampling": "super-image",
        "grid_size": grid_size,
        "resolution": resolution,
        "fps": 1.0,
        "r1": r5 / 2,
        "r5": r5,
        "r10": r5 + 10,
    }
    return row | changes


def timing(backbone: str, grid_size: int, resolution: int, seconds: float) -> dict[str, Any]:
    config = {
        "backbone": backbone,
        "grid_size": grid_size,
        "resolution": resolution,
        "fps": 1.0,
        "cores": 2,
    }
    return {
        "name": f"ingest {backbone}, N = {grid_size}, R = {resolution}",
        "value": seconds,
        "unit": "s per video-hour",
        "baseline": 1.0,
        "ratio": seconds,
        "config": config,
    }


STUDY = [
    study_row(1, 224, 60.0),
    study_row(2, 256, 55.0),
    study_row(2, 256, 50.0, unit="cell"),
    study_row(2, 256, 45.0, unit="super-image"),
    study_row(2, 256, 20.0, variant="zero-shot"),
    study_row(4, 256, 40.0),
    # None of these is what a service would run, one was never timed, one is there already.
    study_row(1, 224, 60.0, unit="cell"),
    study_row(2, 256, 99.0, pooling="max"),
    study_row(2, 224, 99.0, sampling="sparse"),
    study_row(2, 256, 99.0, recipe="without temporal encoder"),
    study_row(3, 288, 99.0),
]
HYBRID = [
    {
        **study_row(0, 0, 58.0),
        "variant": "hybrid",
        "k": k,
        "seconds_per_video": 36.0,
        **{"cheap_backbone": "lite", "cheap_grid_size": 4, "cheap_resolution": 256},
        **{"fine_backbone": "lite2", "fine_grid_size": 2, "fine_resolution": 256},
    }
    for k in (10, 60)
]
BENCHMARKS = [
    timing("lite", 1, 224, 30.0),
    timing("lite", 2, 256, 12.0),
    timing("lite", 4, 256, 8.0),
    timing("lite2", 2, 256, 20.0),
    {"name": "recall over one pass", "value": 0.03, "unit": "s", "config": {"videos": 10}},
]


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A folder of results with three grid sizes and a hybrid."""
    for name, rows in (("study", STUDY), ("hybrid", HYBRID), ("benchmarks", BENCHMARKS)):
        (tmp_path / f"{name}.json").write_text(json.dumps(rows))
    return tmp_path
