"""What came out of the study: rows with intervals over seeds and queries.

study.json        every configuration            ablation.json      the served model without a part
hybrid.json       a cheap model, then a fine one  differences.json   the bars, and whether they hold
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qasir.errors import NotFound
from qasir.scoring import Pooling
from qasir.types import Float64, Int64
from training.dataset import Query
from training.intervals import Interval, difference, gains, interval
from training.measures import Measures, measure
from training.rows import Sampling, StudyRow, Variant
from training.scores import Unit
from training.study.plan import SERVED, Images, Trial
from training.study.run import POOLINGS, UNITS, Workshop, encodes_name, name_of, texts_of
from training.study.store import Kept, Store


@dataclass(frozen=True)
class AblationRow:
    """The served model without one part: its objective, and what that part is worth."""

    recipe: str
    grid_size: int
    measures: Measures
    objective: Interval
    difference: Interval
    seeds: int


@dataclass(frozen=True)
class Outcome:
    """Everything that trials gave, by trial: names to arrays stacked over seeds."""

    results: Mapping[int, Mapping[str, Kept]]
    trials: Sequence[Trial]
    shop: Workshop

    @classmethod
    def of(cls, trials: Sequence[Trial], store: Store, shop: Workshop) -> "Outcome":
        """Read all trials of a store.

        Raises:
            NotFound: one is not done yet.
        """
        return cls({i: _stacked(store, trial) for i, trial in enumerate(trials)}, trials, shop)

    @property
    def queries(self) -> Sequence[Query]:
        return texts_of(self.trials[0].images[0].backbone).subsets["test"].queries

    def of_trial(self, trial: Trial) -> Mapping[str, Kept]:
        return self.results[self.trials.index(trial)]

    def served(self, variant: Variant, images: Images) -> Trial:
        """The trial of a variant as it is served that measured these images.

        Raises:
            NotFound: none did.
        """
        for trial in self.trials:
            if (trial.recipe, trial.variant) == (SERVED, variant) and images in trial.measured:
                return trial
        raise NotFound(f"no trial measured {variant} on {images.name}; see training.study.plan")

    def ranks(self, trial: Trial, images: Images, unit: str = "both") -> Int64:
        """Ranks [seeds, Q] of attention over a unit, "sparse" for single frames."""
        found: Int64 = self.of_trial(trial)[name_of(images, unit, "attention")]
        return found

    def gains(self, trial: Trial, images: Images, unit: str = "both") -> Float64:
        """What every query adds to R@1 + R@5 + R@10, [seeds, Q]."""
        return gains(self.ranks(trial, images, unit))

    def study_rows(self) -> Iterator[StudyRow]:
        """A row of every trial, image set, unit and pooling; then the sparse ones."""
        for trial in self.trials:
            for images in trial.measured:
                for unit in UNITS:
                    for pooling in POOLINGS:
                        yield self._row(trial, images, unit, pooling)
                if name_of(images, "sparse", "attention") in self.of_trial(trial):
                    yield self._sparse_row(trial, images)

    def ablation_rows(self) -> Iterator[AblationRow]:
        """The served model with a part left out or a ratio set by hand, against itself."""
        served = self.trials[0]
        for images in served.measured:
            whole = self.gains(served, images)
            for ratio in served.ratios:
                ranks = self.of_trial(served)[name_of(images, "both", "attention", ratio)]
                yield _ablation(f"residual ratio {ratio:g}", images, ranks, whole)
            for trial in self.trials[1:]:
                if trial.changes:
                    yield _ablation(trial.recipe, images, self.ranks(trial, images), whole)

    def _row(self, trial: Trial, images: Images, unit: Unit, pooling: Pooling) -> StudyRow:
        kept = self.of_trial(trial)
        encodes = float(kept[encodes_name(images)].mean())
        ranks = kept[name_of(images, unit, pooling)]
        return self._study_row(trial, images, images, unit, pooling, ranks, encodes)

    def _sparse_row(self, trial: Trial, images: Images) -> StudyRow:
        """Frames are encoded at N = 1, as often as there are super images."""
        kept = self.of_trial(trial)
        encodes = float(kept[encodes_name(images)].mean())
        ranks = kept[name_of(images, "sparse", "attention")]
        frames = trial.measured[0]
        return self._study_row(
            trial, images, frames, "super-image", "attention", ranks, encodes, "sparse"
        )

    def _study_row(
        self,
        trial: Trial,
        images: Images,
        encoded: Images,
        unit: Unit,
        pooling: Pooling,
        ranks: Int64,
        encodes: float,
        sampling: Sampling | None = None,
    ) -> StudyRow:
        videos = len(texts_of(images.backbone).subsets["test"].videos)
        return StudyRow(
            dataset=self.shop.params.prepare.dataset,
            split="test",
            backbone=images.backbone,
            variant=trial.variant,
            recipe=trial.recipe,
            pooling=pooling,
            unit=unit,
            sampling=sampling or trial.sampling,
            grid_size=images.grid_size,
            resolution=encoded.resolution,
            fps=self.shop.params.encode.fps,
            measures=measure(ranks, videos),
            objective=interval(gains(ranks)),
            encodes_per_video=encodes,
            gmacs_per_video=encodes * self.shop.gmacs(encoded),
            seeds=len(ranks),
        )


def _ablation(recipe: str, images: Images, ranks: Int64, whole: Float64) -> AblationRow:
    own = gains(ranks)
    videos = len(texts_of(images.backbone).subsets["test"].videos)
    return AblationRow(
        recipe,
        images.grid_size,
        measure(ranks, videos),
        interval(own),
        difference(own, whole),
        len(ranks),
    )


def _stacked(store: Store, trial: Trial) -> Mapping[str, Kept]:
    found = [store.get(trial, seed) for seed in trial.seeds]
    done = [kept for kept in found if kept is not None]
    if len(done) < len(found):
        raise NotFound(f"{trial} is not done for every seed; run `make study` again")
    return {name: np.stack([kept[name] for kept in done]) for name in done[0]}
