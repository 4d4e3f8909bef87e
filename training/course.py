"""How a training went, epoch by epoch."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from qasir.manifest import ScoreFusion


@dataclass(frozen=True)
class Epoch:
    """One epoch: number 0 is the start, before any step, and has no loss.

    objectives: R@1 + R@5 + R@10 on validation by grid size, empty where there is none.
    """

    number: int
    loss: float | None
    objectives: Mapping[int, float]
    branches: Mapping[int, ScoreFusion]
    logit_scale: float

    @property
    def objective(self) -> float | None:
        """The mean over grid sizes: what the best epoch is chosen by."""
        return fmean(self.objectives.values()) if self.objectives else None


@dataclass
class Course:
    """All epochs so far; in the end also the objective at every residual ratio, by ratio."""

    epochs: list[Epoch] = field(default_factory=list)
    ratios: dict[float, float] = field(default_factory=dict)
    chosen_ratio: float | None = None

    @property
    def best(self) -> Epoch:
        """The epoch with the best validation, of equals the first; without one, the last."""
        if self.epochs[-1].objective is None:
            return self.epochs[-1]
        return max(self.epochs, key=lambda epoch: epoch.objective or 0.0)
