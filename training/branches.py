"""How zero-shot scores are made of both branches, chosen on validation and never on test.

Chosen per grid size in three steps, each by R@1 + R@5 + R@10: the temperature of either branch
alone, then the weight of the super images. All on lengthened videos and mixed lengths, since
long videos are the task: on short ones nearly any temperature will do. A grid over all
three at once would fit the noise of a small validation split.
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
from training.measures import objective, rank_scores
from training.parts import Part
from training.pools import Pool, long_pools
from training.progress import progress_bar
from training.scores import BranchSetting, score_branch

# Where there is no validation split at all (TVR without its train file).
DEFAULT = ScoreFusion(super_image_weight=0.5, super_image_tau=0.05, cell_tau=0.05)
WEIGHTS = tuple(step / 10 for step in range(11))

Knob = Literal["super_image_tau", "cell_tau", "super_image_weight"]
TAUS: Mapping[IndexUnit, Knob] = {"super-image": "super_image_tau", "cell": "cell_tau"}


@dataclass(frozen=True)
class Curve:
    """R@1 + R@5 + R@10 on validation for every value of one knob, in one pool at one N."""

    grid_size: int
    pool: str
    knob: Knob
    values: Mapping[float, float]


@dataclass(frozen=True)
class BranchChoice:
    """The chosen branches by N, on what, and the curves they were read from."""

    branches: Mapping[int, ScoreFusion]
    chosen_on: str
    curves: tuple[Curve, ...]


def choose_branches(parts: Sequence[Part], params: EvaluateParams) -> BranchChoice:
    """Choose for every validation part; where a part has no query, the default stands."""
    chosen: dict[int, ScoreFusion] = {}
    curves: list[Curve] = []
    with progress_bar("choosing branches", len(parts)) as advance:
        for part in parts:
            chosen[part.grid_size] = DEFAULT
            if part.queries:
                chosen[part.grid_size], drawn = _choose(part, params)
                curves += drawn
            advance()
    return BranchChoice(chosen, "validation" if curves else "default", tuple(curves))


def _choose(part: Part, params: EvaluateParams) -> tuple[ScoreFusion, list[Curve]]:
    pools = [
        (str(name), pool)
        for name, pool in long_pools(part.videos, part.filler, params.lengths, params.seed)
        or [("natural", part.natural)]
    ]
    tables = [Tables.score(part, name, pool, params.taus) for name, pool in pools]
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

    part: Part
    name: str
    ids: Sequence[str]
    scores: Mapping[IndexUnit, Mapping[float, Float32]]

    @classmethod
    def score(cls, part: Part, name: str, pool: Pool, taus: Sequence[float]) -> "Tables":
        """Score a pool once for all that is chosen on it."""
        scores: dict[IndexUnit, Mapping[float, Float32]] = {}
        for unit in TAUS:
            settings = [BranchSetting(unit, "attention", tau) for tau in taus]
            tables = score_branch(part.query_vectors, pool, settings)
            scores[unit] = dict(zip(taus, tables, strict=True))
        return cls(part, name, [entry.video_id for entry in pool], scores)

    def tau_curve(self, unit: IndexUnit) -> Curve:
        """One branch alone, over its temperatures."""
        values = {tau: self._objective(table) for tau, table in self.scores[unit].items()}
        return Curve(self.part.grid_size, self.name, TAUS[unit], values)

    def weight_curve(self, super_image_tau: float, cell_tau: float) -> Curve:
        """Both branches, over the weight of the super images."""
        whole, cells = self.scores["super-image"][super_image_tau], self.scores["cell"][cell_tau]
        values = {}
        for weight in WEIGHTS:
            branches = ScoreFusion(
                super_image_weight=weight, super_image_tau=super_image_tau, cell_tau=cell_tau
            )
            values[weight] = self._objective(blend(whole, cells, branches))
        return Curve(self.part.grid_size, self.name, "super_image_weight", values)

    def _objective(self, scores: Float32) -> float:
        return objective(rank_scores(self.part.queries, self.ids, scores))


def best_value(curves: Sequence[Curve], knob: Knob) -> float:
    """The value of a knob with the best mean over its curves.

    Of equal temperatures the smaller; of equal weights the one nearest to a half.

    >>> best_value([Curve(1, "mixed", "cell_tau", {0.01: 90.0, 0.1: 80.0})], "cell_tau")
    0.01
    """
    mean = mean_curve([curve for curve in curves if curve.knob == knob])
    centre = 0.5 if knob == "super_image_weight" else 0.0
    return max(sorted(mean, key=lambda value: abs(value - centre)), key=lambda value: mean[value])


def mean_curve(curves: Sequence[Curve]) -> dict[float, float]:
    """The mean objective of every value over all curves."""
    return {value: sum(c.values[value] for c in curves) / len(curves) for value in curves[0].values}


def write_branches(branches: Mapping[str, Mapping[int, ScoreFusion]], path: Path) -> None:
    """Write {variant: {N: branches}}."""
    plain = {
        variant: {str(n): branch.model_dump() for n, branch in sorted(by_grid.items())}
        for variant, by_grid in branches.items()
    }
    with atomic_write(path) as file:
        file.write(json.dumps(plain, indent=1).encode() + b"\n")


def read_branches(path: Path, variant: str) -> dict[int, ScoreFusion]:
    """The branches of one variant by N.

    Raises:
        CorruptArtifact: the file is missing, holds something else, or not this variant.
    """
    try:
        by_grid = json.loads(path.read_bytes())[variant]
        return {int(n): ScoreFusion.model_validate(branch) for n, branch in by_grid.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CorruptArtifact(
            f"{path}, variant '{variant}': {error!r}; run `dvc repro evaluate`"
        ) from error
