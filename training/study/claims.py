"""Checks the quality claims, each a difference on the same queries.

"Better" requires the whole interval above zero, "at least as good" requires it to reach zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.evaluate.measures import Interval, difference
from training.study.outcome import Outcome, hybrid_rows
from training.study.plan import Images, low_resolution

Wanted = Literal["better", "at least as good"]


@dataclass(frozen=True)
class Claim:
    """One comparison of R@1 + R@5 + R@10, ours minus theirs; `wanted` None makes no claim."""

    claim: str
    grid_size: int
    difference: Interval
    wanted: Wanted | None
    holds: bool


def claims(outcome: Outcome) -> Iterator[Claim]:
    """Yields every claim at every N that it is about."""
    served = outcome.trials[0]
    frames = served.measured[0]
    for images in served.measured:
        n = images.grid_size
        zero_shot = outcome.served("zero-shot", images)
        ours, theirs = outcome.gains(served, images), outcome.gains(zero_shot, images)
        yield claim("fine-tuned over zero-shot", n, difference(ours, theirs), "better")
        yield from _branches(outcome, images)
        if n > 1:
            sparse, dense = outcome.gains(served, images, "sparse"), outcome.gains(served, frames)
            gained = difference(ours, sparse)
            yield claim("super images over sparse frames, equal encodings", n, gained, "better")
            # The upper bound: the frames that super images hold, encoded one by one.
            yield claim("every frame over sparse frames", n, difference(dense, sparse), None)
    yield from _low_resolution(outcome)
    yield from _specialists(outcome)
    for row in hybrid_rows(outcome):
        name = f"hybrid of {row.pair}, k = {row.k}, over its expensive half"
        yield claim(name, row.cheap_grid_size, row.against_fine, "at least as good")


def _branches(outcome: Outcome, images: Images) -> Iterator[Claim]:
    served, n = outcome.trials[0], images.grid_size
    whole, cells, both = (
        outcome.gains(served, images, unit) for unit in ("super-image", "cell", "both")
    )
    wanted: Wanted | None = "better" if n >= 3 else None
    yield claim("cells over whole pictures", n, difference(cells, whole), wanted)
    better = max((whole, cells), key=lambda gains: float(np.mean(gains)))
    gained = difference(both, better)
    yield claim("both branches over the better one", n, gained, "at least as good")


def _low_resolution(outcome: Outcome) -> Iterator[Claim]:
    """Compares specialists: neither side has seen frames at full size."""
    grids = {n: g.resolution for n, g in outcome.context.params.grids.items()}
    alone = {t.images[0]: t for t in outcome.trials if t.recipe == "one N"}
    for images, small in zip(outcome.trials[0].measured[1:], low_resolution(grids), strict=True):
        ours, theirs = (outcome.gains(alone[side], side) for side in (images, small))
        name = "super images over low-resolution frames, equal compute"
        yield claim(name, images.grid_size, difference(ours, theirs), None)


def _specialists(outcome: Outcome) -> Iterator[Claim]:
    served = outcome.trials[0]
    alone = {t.images[0]: t for t in outcome.trials if t.recipe == "one N"}
    for images in served.measured:
        gained = difference(outcome.gains(served, images), outcome.gains(alone[images], images))
        yield claim("one checkpoint over a specialist", images.grid_size, gained, None)


def claim(name: str, grid_size: int, gained: Interval, wanted: Wanted | None) -> Claim:
    """Returns the claim and whether it holds by its interval."""
    holds = gained.above_zero if wanted == "better" else gained.reaches_zero
    return Claim(name, grid_size, gained, wanted, holds)
