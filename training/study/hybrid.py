"""Hybrid search: a cheap model ranks everything, an expensive one scores the best k again.

The paper's abstract names it; this reading of it is ours. A cold query costs k videos through the
expensive model, which V videos would have cost had they all been encoded by it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from training.intervals import Interval, difference, gains, interval
from training.measures import Measures, measure
from training.rows import Variant
from training.served import rerank_all
from training.study.outcome import Outcome
from training.study.plan import Pair, hybrids
from training.study.run import encodes_name, scores_name, texts_of

TOP = (5, 10, 20, 30, 40, 60)


@dataclass(frozen=True)
class HybridRow:
    """One pair and k: what it finds, against the expensive model alone, and what it costs.

    encodings, gmacs: of the whole library by the cheap model and k videos by the expensive one;
    fine_encodings, fine_gmacs: of the whole library by the expensive one.
    """

    variant: Variant
    pair: str
    cheap_backbone: str
    cheap_grid_size: int
    cheap_resolution: int
    fine_backbone: str
    fine_grid_size: int
    fine_resolution: int
    fps: float
    k: int
    seconds_per_video: float
    encodings: float
    fine_encodings: float
    gmacs: float
    fine_gmacs: float
    measures: Measures
    objective: Interval
    against_fine: Interval
    seeds: int


def hybrid_rows(outcome: Outcome) -> Iterator[HybridRow]:
    """A row for every pair and k, by the function that serves it (`qasir.search.rerank`)."""
    grids = {n: g.resolution for n, g in outcome.shop.params.grids.items()}
    for pair in hybrids(grids):
        for k in TOP:
            yield _row(outcome, pair, k)


def _row(outcome: Outcome, pair: Pair, k: int) -> HybridRow:
    cheap, fine = pair.cheap, pair.fine
    trials = [outcome.served("fine-tuned", images) for images in (cheap, fine)]
    first, second = (
        outcome.of_trial(trial)[scores_name(images)]
        for trial, images in zip(trials, (cheap, fine), strict=True)
    )
    subset, queries = texts_of(cheap.backbone).subsets["test"], outcome.queries
    ids = [video.video_id for video in subset.videos]
    ranks = np.stack(
        [rerank_all(queries, ids, a, b, k) for a, b in zip(first, second, strict=True)]
    )
    counts = [
        float(outcome.of_trial(trial)[encodes_name(images)].mean())
        for trial, images in zip(trials, (cheap, fine), strict=True)
    ]
    costs = [outcome.shop.gmacs(images) for images in (cheap, fine)]
    videos = len(ids)
    return HybridRow(
        variant="hybrid",
        pair=str(pair),
        cheap_backbone=cheap.backbone,
        cheap_grid_size=cheap.grid_size,
        cheap_resolution=cheap.resolution,
        fine_backbone=fine.backbone,
        fine_grid_size=fine.grid_size,
        fine_resolution=fine.resolution,
        fps=outcome.shop.params.encode.fps,
        k=k,
        seconds_per_video=float(np.mean([video.duration for video in subset.videos])),
        encodings=videos * counts[0] + k * counts[1],
        fine_encodings=videos * counts[1],
        gmacs=videos * counts[0] * costs[0] + k * counts[1] * costs[1],
        fine_gmacs=videos * counts[1] * costs[1],
        measures=measure(ranks, videos),
        objective=interval(gains(ranks)),
        against_fine=difference(gains(ranks), outcome.gains(trials[1], fine)),
        seeds=len(ranks),
    )
