"""The bars of quality: each a difference on the same queries, with what is wanted of it.

"Better" wants the whole 95 % interval above zero, "at least as good" wants it to reach zero.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from training.intervals import Interval, difference
from training.study.hybrid import hybrid_rows
from training.study.outcome import Outcome
from training.study.plan import Images, low_resolution

Wanted = Literal["better", "at least as good"]


@dataclass(frozen=True)
class Bar:
    """One comparison of R@1 + R@5 + R@10: ours minus theirs; `wanted` None: only told."""

    claim: str
    grid_size: int
    difference: Interval
    wanted: Wanted | None
    holds: bool


def bars(outcome: Outcome) -> Iterator[Bar]:
    """Every bar at every N it is about."""
    served = outcome.trials[0]
    frames = served.measured[0]
    for images in served.measured:
        n = images.grid_size
        zero_shot = outcome.served("zero-shot", images)
        ours, theirs = outcome.gains(served, images), outcome.gains(zero_shot, images)
        yield _bar("fine-tuned over zero-shot", n, difference(ours, theirs), "better")
        yield from _branches(outcome, images)
        if n > 1:
            sparse, dense = outcome.gains(served, images, "sparse"), outcome.gains(served, frames)
            found = difference(ours, sparse)
            yield _bar("super images over sparse frames, equal encodings", n, found, "better")
            # What there is to win: the same frames as super images hold, encoded one by one.
            yield _bar("every frame over sparse frames", n, difference(dense, sparse), None)
    yield from _low_resolution(outcome)
    yield from _specialists(outcome)
    for row in hybrid_rows(outcome):
        claim = f"hybrid of {row.pair}, k = {row.k}, over its expensive half"
        yield _bar(claim, row.cheap_grid_size, row.against_fine, "at least as good")


def _branches(outcome: Outcome, images: Images) -> Iterator[Bar]:
    served, n = outcome.trials[0], images.grid_size
    whole, cells, both = (
        outcome.gains(served, images, unit) for unit in ("super-image", "cell", "both")
    )
    wanted: Wanted | None = "better" if n >= 3 else None
    yield _bar("cells over whole pictures", n, difference(cells, whole), wanted)
    better = max((whole, cells), key=lambda gains: float(np.mean(gains)))
    yield _bar("both branches over the better one", n, difference(both, better), "at least as good")


def _low_resolution(outcome: Outcome) -> Iterator[Bar]:
    """Specialists on either side: neither has learned from frames at full size."""
    grids = {n: g.resolution for n, g in outcome.shop.params.grids.items()}
    alone = {t.images[0]: t for t in outcome.trials if t.recipe == "one N"}
    for images, small in zip(outcome.trials[0].measured[1:], low_resolution(grids), strict=True):
        ours = outcome.gains(alone[images], images)
        found = difference(ours, outcome.gains(alone[small], small))
        claim = "super images over low-resolution frames, equal compute"
        yield _bar(claim, images.grid_size, found, None)


def _specialists(outcome: Outcome) -> Iterator[Bar]:
    served = outcome.trials[0]
    alone = {t.images[0]: t for t in outcome.trials if t.recipe == "one N"}
    for images in served.measured:
        found = difference(outcome.gains(served, images), outcome.gains(alone[images], images))
        yield _bar("one checkpoint over a specialist", images.grid_size, found, None)


def _bar(claim: str, grid_size: int, found: Interval, wanted: Wanted | None) -> Bar:
    holds = found.above_zero if wanted == "better" else found.reaches_zero
    return Bar(claim, grid_size, found, wanted, holds)
