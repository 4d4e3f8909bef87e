"""Chooses how zero-shot scores combine both branches, on validation and never on test.

Per grid size, in three steps, by R@1 + R@5 + R@10: the temperature of each branch alone, then the
weight of the super images. Videos are lengthened and of mixed lengths, because long videos are the
task and on short ones nearly any temperature works. A grid search over all three values at once
would fit the noise of a small validation split.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from qasir.artifacts import atomic_write
from qasir.config import EvaluateParams, IndexUnit
from qasir.errors import CorruptArtifact
from qasir.manifest import ScoreFusion
from qasir.scoring import blend
from qasir.types import Float32
from training.evaluate.corpus import EvalSplit
from training.evaluate.measures import objective, rank_scores
from training.evaluate.scores import BranchSetting, Pool, long_pools, score_branch
from training.progress import progress_bar

# Used without a validation split (TVR without its train file).
DEFAULT = ScoreFusion(super_image_weight=0.5, super_image_tau=0.05, cell_tau=0.05)
WEIGHTS = tuple(step / 10 for step in range(11))

Knob = Literal["super_image_tau", "cell_tau", "super_image_weight"]
TAUS: Mapping[IndexUnit, Knob] = {"super-image": "super_image_tau", "cell": "cell_tau"}


@dataclass(frozen=True)
class Curve:
    """R@1 + R@5 + R@10 on validation by value of one knob, in one pool at one N."""

    grid_size: int
    pool: str
    knob: Knob
    values: Mapping[float, float]


@dataclass(frozen=True)
class BranchChoice:
    """The chosen branches by N, the split they were chosen on, and the curves behind them."""

    branches: Mapping[int, ScoreFusion]
    chosen_on: str
    curves: tuple[Curve, ...]


def choose_branches(splits: Sequence[EvalSplit], params: EvaluateParams) -> BranchChoice:
    """Chooses branches for every validation split; a split without queries gets the default."""
    chosen: dict[int, ScoreFusion] = {}
    curves: list[Curve] = []
    with progress_bar("choosing branches", len(splits)) as advance:
        for split in splits:
            chosen[split.grid_size] = DEFAULT
            if split.queries:
                chosen[split.grid_size], measured = _choose(split, params)
                curves += measured
            advance()
    return BranchChoice(chosen, "validation" if curves else "default", tuple(curves))


def _choose(split: EvalSplit, params: EvaluateParams) -> tuple[ScoreFusion, list[Curve]]:
    long = long_pools(split.videos, split.filler, params.lengths, params.seed)
    pools = {str(name): pool for name, pool in long or [("natural", split.natural)]}

    def measured(pool: Pool, scores: Float32) -> float:
        return objective(rank_scores(split.queries, [e.video_id for e in pool], scores))

    curves: list[Curve] = []
    # Scores [Q, V] of either branch alone, by pool and temperature.
    tables: dict[tuple[IndexUnit, str], dict[float, Float32]] = {}
    for unit, knob in TAUS.items():
        settings = [BranchSetting(unit, "attention", tau) for tau in params.taus]
        for name, pool in pools.items():
            scores = score_branch(split.query_vectors, pool, settings)
            tables[unit, name] = dict(zip(params.taus, scores, strict=True))
            values = {tau: measured(pool, table) for tau, table in tables[unit, name].items()}
            curves.append(Curve(split.grid_size, name, knob, values))
    taus: dict[str, float] = {knob: best_value(curves, knob) for knob in TAUS.values()}
    candidates = {w: ScoreFusion(super_image_weight=w, **taus) for w in WEIGHTS}
    for name, pool in pools.items():
        whole = tables["super-image", name][taus["super_image_tau"]]
        cells = tables["cell", name][taus["cell_tau"]]
        values = {w: measured(pool, blend(whole, cells, c)) for w, c in candidates.items()}
        curves.append(Curve(split.grid_size, name, "super_image_weight", values))
    return candidates[best_value(curves, "super_image_weight")], curves


def best_value(curves: Sequence[Curve], knob: Knob) -> float:
    """Returns the value of a knob with the best mean over its curves.

    Ties go to the smaller temperature and to the weight nearest to a half.

    >>> best_value([Curve(1, "mixed", "cell_tau", {0.01: 90.0, 0.1: 80.0})], "cell_tau")
    0.01
    """
    mean = mean_curve([curve for curve in curves if curve.knob == knob])
    centre = 0.5 if knob == "super_image_weight" else 0.0
    return max(sorted(mean, key=lambda value: abs(value - centre)), key=lambda value: mean[value])


def mean_curve(curves: Sequence[Curve]) -> dict[float, float]:
    """Returns the mean objective of every value over all curves."""
    return {value: sum(c.values[value] for c in curves) / len(curves) for value in curves[0].values}


def write_branches(branches: Mapping[int, ScoreFusion], path: Path) -> None:
    """Writes {N: branches} of the zero-shot variant."""
    plain = {str(n): branch.model_dump() for n, branch in sorted(branches.items())}
    with atomic_write(path) as file:
        file.write(json.dumps(plain, indent=1).encode() + b"\n")


def read_branches(path: Path) -> dict[int, ScoreFusion]:
    """Reads the zero-shot branches by N.

    Raises:
        CorruptArtifact: the file is missing or holds something else.
    """
    try:
        by_grid = json.loads(path.read_bytes())
        return {int(n): ScoreFusion.model_validate(branch) for n, branch in by_grid.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifact(f"{path}: {error!r}; run `dvc repro evaluate`") from error
