"""Turns finished trials into rows with intervals over seeds and queries.

study.json        every configuration            ablation.json      the served model without a part
hybrid.json       a cheap model, then a fine one  differences.json   claims, and whether they hold

Hybrid search: a cheap model ranks everything, an expensive one rescores the best k. The paper's
abstract names it; this reading of it is ours. A cold query encodes k videos with the expensive
model instead of the whole library.

A claim is a difference on the same queries: "better" requires the whole interval above zero, "at
least as good" requires it to reach zero.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Literal

import numpy as np

from qasir.errors import NotFound
from qasir.scoring import Pooling
from qasir.types import Float64, Int64
from training.data.dataset import Subset
from training.evaluate.measures import Interval, Measures, difference, gains, interval, measure
from training.evaluate.rows import Configuration, Sampling, StudyRow, Variant, study_row
from training.evaluate.scores import POOLINGS, UNITS, Unit
from training.evaluate.variant import rerank_all
from training.study.plan import SERVED, Images, Store, Stored, Trial, hybrids, low_resolution
from training.study.run import StudyContext, encodes_name, name_of, scores_name, texts_of

Wanted = Literal["better", "at least as good"]


@dataclass(frozen=True)
class AblationRow:
    """The served model without one part: its objective, and the difference that the part makes."""

    recipe: str
    grid_size: int
    measures: Measures
    objective: Interval
    difference: Interval
    seeds: int


TOP = (5, 10, 20, 30, 40, 60)


@dataclass(frozen=True)
class HybridRow:
    """One pair and k: its recall, the difference to the expensive model alone, and its cost.

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


@dataclass(frozen=True)
class Claim:
    """One comparison of R@1 + R@5 + R@10, ours minus theirs; `wanted` None makes no claim."""

    claim: str
    grid_size: int
    difference: Interval
    wanted: Wanted | None
    holds: bool


@dataclass(frozen=True)
class Outcome:
    """The results of all trials by position: arrays by name, stacked over seeds."""

    results: Sequence[Mapping[str, Stored]]
    trials: Sequence[Trial]
    context: StudyContext

    @classmethod
    def of(cls, trials: Sequence[Trial], store: Store, context: StudyContext) -> "Outcome":
        """Reads all trials of a store.

        Raises:
            NotFound: one is not finished yet.
        """
        return cls([_stacked(store, trial) for trial in trials], trials, context)

    @property
    def subset(self) -> Subset:
        """Returns the test split."""
        return texts_of(self.trials[0].images[0].backbone).subsets["test"]

    @property
    def grids(self) -> dict[int, int]:
        """Returns the served R by N."""
        return {n: grid.resolution for n, grid in self.context.params.grids.items()}

    def of_trial(self, trial: Trial) -> Mapping[str, Stored]:
        return self.results[self.trials.index(trial)]

    def served(self, variant: Variant, images: Images) -> Trial:
        """Returns the trial of a variant as it is served that measured these images.

        Raises:
            NotFound: none did.
        """
        for trial in self.trials:
            if (trial.recipe, trial.variant) == (SERVED, variant) and images in trial.measured:
                return trial
        raise NotFound(f"no trial measured {variant} on {images.name}; see training.study.plan")

    def gains(self, trial: Trial, images: Images, unit: str = "both") -> Float64:
        """Returns each query's contribution to R@1 + R@5 + R@10, [seeds, Q], by attention.

        The unit "sparse" names single frames.
        """
        return gains(self.of_trial(trial)[name_of(images, unit, "attention")])

    def encodes(self, trial: Trial, images: Images) -> float:
        """Returns the mean number of encodings per video."""
        return float(self.of_trial(trial)[encodes_name(images)].mean())

    def study_rows(self) -> Iterator[StudyRow]:
        """Yields a row for every trial, images, unit and pooling, and for sparse frames."""
        for trial in self.trials:
            for images in trial.measured:
                for unit, pooling in product(UNITS, POOLINGS):
                    yield self._row(trial, images, unit, pooling, trial.sampling)
                if name_of(images, "sparse", "attention") in self.of_trial(trial):
                    yield self._row(trial, images, "super-image", "attention", "sparse")

    def _row(
        self, trial: Trial, images: Images, unit: Unit, pooling: Pooling, sampling: Sampling
    ) -> StudyRow:
        # Sparse frames are encoded at N = 1, as many as there are super images.
        sparse = sampling == "sparse"
        encoded = trial.measured[0] if sparse else images
        params = self.context.params
        configuration = Configuration(
            dataset=params.prepare.dataset,
            split="test",
            backbone=images.backbone,
            variant=trial.variant,
            recipe=trial.recipe,
            pooling=pooling,
            unit=unit,
            sampling=sampling,
            grid_size=images.grid_size,
            resolution=encoded.resolution,
            fps=params.encode.fps,
        )
        ranks = self.of_trial(trial)[name_of(images, "sparse" if sparse else unit, pooling)]
        videos, encodes = len(self.subset.videos), self.encodes(trial, images)
        return study_row(configuration, ranks, videos, encodes, self.context.gmacs(encoded))

    def ablation_rows(self) -> Iterator[AblationRow]:
        """Compares the served model with itself without a part, or with a ratio set by hand."""
        served, videos = self.trials[0], len(self.subset.videos)
        for images in served.measured:
            recipes: dict[str, Int64] = {}
            for ratio in served.ratios:
                name = name_of(images, "both", "attention", ratio)
                recipes[f"residual ratio {ratio:g}"] = self.of_trial(served)[name]
            for trial in self.trials[1:]:
                if trial.changes:
                    name = name_of(images, "both", "attention")
                    recipes[trial.recipe] = self.of_trial(trial)[name]
            for recipe, ranks in recipes.items():
                own = gains(ranks)
                yield AblationRow(
                    recipe,
                    images.grid_size,
                    measure(ranks, videos),
                    interval(own),
                    difference(own, self.gains(served, images)),
                    len(ranks),
                )


def _stacked(store: Store, trial: Trial) -> Mapping[str, Stored]:
    results = [store.get(trial, seed) for seed in trial.seeds]
    finished = [result for result in results if result is not None]
    if len(finished) < len(results):
        raise NotFound(f"{trial} is not done for every seed; run `make study` again")
    return {name: np.stack([result[name] for result in finished]) for name in finished[0]}


def hybrid_rows(outcome: Outcome) -> Iterator[HybridRow]:
    """Yields a row for every pair and k, ranked by `qasir.search.rerank` as in the service."""
    subset, gmacs = outcome.subset, outcome.context.gmacs
    ids = [video.video_id for video in subset.videos]
    for pair, k in product(hybrids(outcome.grids), TOP):
        cheap, fine = pair.cheap, pair.fine
        first, second = (outcome.served("fine-tuned", images) for images in (cheap, fine))
        seeds = zip(
            outcome.of_trial(first)[scores_name(cheap)],
            outcome.of_trial(second)[scores_name(fine)],
            strict=True,
        )
        ranks = np.stack([rerank_all(subset.queries, ids, a, b, k) for a, b in seeds])
        cheap_encodings = len(ids) * outcome.encodes(first, cheap)
        fine_each = outcome.encodes(second, fine)
        fine_encodings = len(ids) * fine_each
        yield HybridRow(
            variant="hybrid",
            pair=str(pair),
            cheap_backbone=cheap.backbone,
            cheap_grid_size=cheap.grid_size,
            cheap_resolution=cheap.resolution,
            fine_backbone=fine.backbone,
            fine_grid_size=fine.grid_size,
            fine_resolution=fine.resolution,
            fps=outcome.context.params.encode.fps,
            k=k,
            seconds_per_video=float(np.mean([video.duration for video in subset.videos])),
            encodings=cheap_encodings + k * fine_each,
            fine_encodings=fine_encodings,
            gmacs=cheap_encodings * gmacs(cheap) + k * fine_each * gmacs(fine),
            fine_gmacs=fine_encodings * gmacs(fine),
            measures=measure(ranks, len(ids)),
            objective=interval(gains(ranks)),
            against_fine=difference(gains(ranks), outcome.gains(second, fine)),
            seeds=len(ranks),
        )


def claims(outcome: Outcome) -> Iterator[Claim]:
    """Yields every claim at every N that it is about."""
    served = outcome.trials[0]
    frames = served.measured[0]
    for images in served.measured:
        n = images.grid_size
        zero_shot = outcome.served("zero-shot", images)
        ours, theirs = outcome.gains(served, images), outcome.gains(zero_shot, images)
        yield claim("fine-tuned over zero-shot", n, difference(ours, theirs), "better")
        whole, cells = (outcome.gains(served, images, unit) for unit in ("super-image", "cell"))
        wanted: Wanted | None = "better" if n >= 3 else None
        yield claim("cells over whole pictures", n, difference(cells, whole), wanted)
        gained = difference(ours, max((whole, cells), key=lambda gains: float(np.mean(gains))))
        yield claim("both branches over the better one", n, gained, "at least as good")
        if n > 1:
            sparse, dense = outcome.gains(served, images, "sparse"), outcome.gains(served, frames)
            gained = difference(ours, sparse)
            yield claim("super images over sparse frames, equal encodings", n, gained, "better")
            # The upper bound: the frames that super images hold, encoded one by one.
            yield claim("every frame over sparse frames", n, difference(dense, sparse), None)
    yield from _specialists(outcome)
    for row in hybrid_rows(outcome):
        name = f"hybrid of {row.pair}, k = {row.k}, over its expensive half"
        yield claim(name, row.cheap_grid_size, row.against_fine, "at least as good")


def _specialists(outcome: Outcome) -> Iterator[Claim]:
    """Compares with specialists, each trained at one N and R alone."""
    served = outcome.trials[0]
    alone = {t.images[0]: t for t in outcome.trials if t.recipe == "one N"}
    for images, small in zip(served.measured[1:], low_resolution(outcome.grids), strict=True):
        ours, theirs = (outcome.gains(alone[side], side) for side in (images, small))
        name = "super images over low-resolution frames, equal compute"
        yield claim(name, images.grid_size, difference(ours, theirs), None)
    for images in served.measured:
        gained = difference(outcome.gains(served, images), outcome.gains(alone[images], images))
        yield claim("one checkpoint over a specialist", images.grid_size, gained, None)


def claim(name: str, grid_size: int, gained: Interval, wanted: Wanted | None) -> Claim:
    """Returns the claim and whether it holds by its interval."""
    holds = gained.above_zero if wanted == "better" else gained.reaches_zero
    return Claim(name, grid_size, gained, wanted, holds)
