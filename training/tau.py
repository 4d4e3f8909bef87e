"""One temperature for all grid sizes, chosen on validation and never on test.

It is chosen on lengthened videos and mixed lengths, since long videos are the task: on
short ones nearly any tau will do.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from qasir.artifacts import whole_file
from qasir.config import EvaluateParams
from qasir.errors import CorruptArtifact
from training.measures import Setting, objective
from training.parts import Part
from training.pools import Pool, long_pools, natural
from training.progress import progress_bar

# Where there is no validation split at all (TVR without its train file).
DEFAULT_TAU = 0.05


@dataclass(frozen=True)
class Curve:
    """R@1 + R@5 + R@10 on validation for every tau, in one pool at one grid size."""

    grid_size: int
    pool: str
    values: Mapping[float, float]


@dataclass(frozen=True)
class TauChoice:
    """The chosen temperature, on what, and the curves it was read from."""

    tau: float
    chosen_on: str
    curves: tuple[Curve, ...]


def choose_tau(parts: Sequence[Part], params: EvaluateParams) -> TauChoice:
    """Draw the curves of every validation part and choose from them."""
    pools = [
        (part, str(name), pool)
        for part in parts
        for name, pool in long_pools(part.videos, part.filler, params.lengths, params.seed)
        or [("natural", natural(part.videos))]
    ]
    curves = []
    with progress_bar("choosing tau", len(pools)) as advance:
        for part, name, pool in pools:
            curves.append(draw_curve(part, name, pool, params.taus))
            advance()
    return choose(curves)


def draw_curve(part: Part, name: str, pool: Pool, taus: Sequence[float]) -> Curve:
    """The objective over `taus` in one pool."""
    ranked = part.rank(pool, [Setting("attention", tau) for tau in taus])
    return Curve(part.grid_size, name, dict(zip(taus, map(objective, ranked), strict=True)))


def choose(curves: Sequence[Curve]) -> TauChoice:
    """The tau with the best mean over all curves; of equals the smaller one.

    >>> choose([Curve(1, "mixed", {0.01: 90.0, 0.1: 80.0})]).tau
    0.01
    """
    if not curves:
        return TauChoice(DEFAULT_TAU, "default", ())
    mean = mean_curve(curves)
    best = max(sorted(mean), key=lambda tau: mean[tau])
    return TauChoice(best, "validation", tuple(curves))


def mean_curve(curves: Sequence[Curve]) -> dict[float, float]:
    """The mean objective of every tau over all curves."""
    return {tau: sum(c.values[tau] for c in curves) / len(curves) for tau in curves[0].values}


def write_tau(choice: TauChoice, path: Path) -> None:
    """Write the choice with its curves."""
    with whole_file(path) as file:
        file.write(json.dumps(asdict(choice), indent=1).encode() + b"\n")


def read_tau(path: Path) -> float:
    """The chosen temperature.

    Raises:
        CorruptArtifact: the file is missing or holds none.
    """
    try:
        return float(json.loads(path.read_bytes())["tau"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CorruptArtifact(f"{path}: {error!r}; run `dvc repro evaluate`") from error
