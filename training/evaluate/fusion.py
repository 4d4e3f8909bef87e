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
from training.evaluate.measures import objective, rank_scores
from training.evaluate.pools import Pool, long_pools
from training.evaluate.scores import BranchSetting, score_branch
from training.evaluate.split import EvalSplit
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
    pools = [
        (str(name), pool)
        for name, pool in long_pools(split.videos, split.filler, params.lengths, params.seed)
        or [("natural", split.natural)]
    ]
    tables = [Tables.score(split, name, pool, params.taus) for name, pool in pools]
    curves = [table.tau_curve(unit) for unit in TAUS for table in tables]
    super_image_tau, cell_tau = (best_value(curves, TAUS[unit]) for unit in TAUS)
    curves += [table.weight_curve(super_image_tau, cell_tau) for table in tables]
    weight = best_value(curves, "super_image_weight")
    branches = ScoreFusion(
        super_image_weight=weight, super_image_tau=super_image_tau, cell_tau=cell_tau
    )
    return branches, curves


@dataclass(frozen=True)
class Tables:
    """Scores [Q, V] of either branch alone at every temperature, in one pool."""

    split: EvalSplit
    name: str
    ids: Sequence[str]
    scores: Mapping[IndexUnit, Mapping[float, Float32]]

    @classmethod
    def score(cls, split: EvalSplit, name: str, pool: Pool, taus: Sequence[float]) -> "Tables":
        """Scores a pool once for every choice that is made on it."""
        scores: dict[IndexUnit, Mapping[float, Float32]] = {}
        for unit in TAUS:
            settings = [BranchSetting(unit, "attention", tau) for tau in taus]
            tables = score_branch(split.query_vectors, pool, settings)
            scores[unit] = dict(zip(taus, tables, strict=True))
        return cls(split, name, [entry.video_id for entry in pool], scores)

    def tau_curve(self, unit: IndexUnit) -> Curve:
        """Measures one branch alone over its temperatures."""
        values = {tau: self._objective(table) for tau, table in self.scores[unit].items()}
        return Curve(self.split.grid_size, self.name, TAUS[unit], values)

    def weight_curve(self, super_image_tau: float, cell_tau: float) -> Curve:
        """Measures both branches over the weight of the super images."""
        whole, cells = self.scores["super-image"][super_image_tau], self.scores["cell"][cell_tau]
        values = {}
        for weight in WEIGHTS:
            branches = ScoreFusion(
                super_image_weight=weight, super_image_tau=super_image_tau, cell_tau=cell_tau
            )
            values[weight] = self._objective(blend(whole, cells, branches))
        return Curve(self.split.grid_size, self.name, "super_image_weight", values)

    def _objective(self, scores: Float32) -> float:
        return objective(rank_scores(self.split.queries, self.ids, scores))


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
