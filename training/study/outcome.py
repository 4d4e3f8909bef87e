"""Turns finished trials into rows with intervals over seeds and queries.

study.json        every configuration            ablation.json      the served model without a part
hybrid.json       a cheap model, then a fine one  differences.json   claims, and whether they hold

Hybrid search: a cheap model ranks everything, an expensive one rescores the best k. The paper's
abstract names it; this reading of it is ours. A cold query encodes k videos with the expensive
model instead of the whole library.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qasir.errors import NotFound
from qasir.scoring import Pooling
from qasir.types import Float64, Int64
from training.data.dataset import Subset
from training.evaluate.measures import Interval, Measures, difference, gains, interval, measure
from training.evaluate.rows import Configuration, Sampling, StudyRow, Variant, study_row
from training.evaluate.scores import POOLINGS, UNITS, Unit
from training.evaluate.serving_ranks import rerank_all
from training.study.plan import SERVED, Images, Pair, Trial, hybrids
from training.study.run import StudyContext, encodes_name, name_of, scores_name, texts_of
from training.study.store import Store, Stored


@dataclass(frozen=True)
class AblationRow:
    """The served model without one part: its objective, and the difference that the part makes."""

    recipe: str
    grid_size: int
    measures: Measures
    objective: Interval
    difference: Interval
    seeds: int


@dataclass(frozen=True)
class Outcome:
    """The results of all trials by position: arrays by name, stacked over seeds."""

    results: Mapping[int, Mapping[str, Stored]]
    trials: Sequence[Trial]
    context: StudyContext

    @classmethod
    def of(cls, trials: Sequence[Trial], store: Store, context: StudyContext) -> "Outcome":
        """Reads all trials of a store.

        Raises:
            NotFound: one is not finished yet.
        """
        return cls({i: _stacked(store, trial) for i, trial in enumerate(trials)}, trials, context)

    @property
    def subset(self) -> Subset:
        """Returns the test split."""
        return texts_of(self.trials[0].images[0].backbone).subsets["test"]

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

    def ranks(self, trial: Trial, images: Images, unit: str = "both") -> Int64:
        """Returns ranks [seeds, Q] by attention over a unit; "sparse" for single frames."""
        ranks: Int64 = self.of_trial(trial)[name_of(images, unit, "attention")]
        return ranks

    def gains(self, trial: Trial, images: Images, unit: str = "both") -> Float64:
        """Returns each query's contribution to R@1 + R@5 + R@10, [seeds, Q]."""
        return gains(self.ranks(trial, images, unit))

    def encodes(self, trial: Trial, images: Images) -> float:
        """Returns the mean number of encodings per video."""
        return float(self.of_trial(trial)[encodes_name(images)].mean())

    def study_rows(self) -> Iterator[StudyRow]:
        """Yields a row for every trial, images, unit and pooling, and for sparse frames."""
        for trial in self.trials:
            for images in trial.measured:
                for unit in UNITS:
                    for pooling in POOLINGS:
                        yield self._row(trial, images, unit, pooling, trial.sampling)
                if name_of(images, "sparse", "attention") in self.of_trial(trial):
                    yield self._row(trial, images, "super-image", "attention", "sparse")

    def ablation_rows(self) -> Iterator[AblationRow]:
        """Compares the served model with itself without a part, or with a ratio set by hand."""
        served = self.trials[0]
        for images in served.measured:
            whole = self.gains(served, images)
            for ratio in served.ratios:
                ranks = self.of_trial(served)[name_of(images, "both", "attention", ratio)]
                yield self._ablation(f"residual ratio {ratio:g}", images, ranks, whole)
            for trial in self.trials[1:]:
                if trial.changes:
                    yield self._ablation(trial.recipe, images, self.ranks(trial, images), whole)

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
        return study_row(
            configuration,
            self.of_trial(trial)[name_of(images, "sparse" if sparse else unit, pooling)],
            len(self.subset.videos),
            self.encodes(trial, images),
            self.context.gmacs(encoded),
        )

    def _ablation(self, recipe: str, images: Images, ranks: Int64, whole: Float64) -> AblationRow:
        own = gains(ranks)
        return AblationRow(
            recipe,
            images.grid_size,
            measure(ranks, len(self.subset.videos)),
            interval(own),
            difference(own, whole),
            len(ranks),
        )


def _stacked(store: Store, trial: Trial) -> Mapping[str, Stored]:
    results = [store.get(trial, seed) for seed in trial.seeds]
    finished = [result for result in results if result is not None]
    if len(finished) < len(results):
        raise NotFound(f"{trial} is not done for every seed; run `make study` again")
    return {name: np.stack([result[name] for result in finished]) for name in finished[0]}


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


def hybrid_rows(outcome: Outcome) -> Iterator[HybridRow]:
    """Yields a row for every pair and k, ranked by `qasir.search.rerank` as in the service."""
    grids = {n: g.resolution for n, g in outcome.context.params.grids.items()}
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
    subset = outcome.subset
    ids = [video.video_id for video in subset.videos]
    ranks = np.stack(
        [rerank_all(subset.queries, ids, a, b, k) for a, b in zip(first, second, strict=True)]
    )
    cheap_encodes, fine_encodes = (
        outcome.encodes(trial, images) for trial, images in zip(trials, (cheap, fine), strict=True)
    )
    cheap_gmacs, fine_gmacs = (outcome.context.gmacs(images) for images in (cheap, fine))
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
        fps=outcome.context.params.encode.fps,
        k=k,
        seconds_per_video=float(np.mean([video.duration for video in subset.videos])),
        encodings=videos * cheap_encodes + k * fine_encodes,
        fine_encodings=videos * fine_encodes,
        gmacs=videos * cheap_encodes * cheap_gmacs + k * fine_encodes * fine_gmacs,
        fine_gmacs=videos * fine_encodes * fine_gmacs,
        measures=measure(ranks, videos),
        objective=interval(gains(ranks)),
        against_fine=difference(gains(ranks), outcome.gains(trials[1], fine)),
        seeds=len(ranks),
    )
