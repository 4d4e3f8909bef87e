"""Every row of one variant at one grid size, on the test split."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from qasir.config import Params
from qasir.manifest import ScoreFusion
from qasir.modeling.retriever import Retriever
from qasir.scoring import Pooling
from qasir.types import Int64
from training.corpus import Corpus, FeatureSet, sparse
from training.groups import group_rows
from training.intervals import gains, interval
from training.localisation import localisation_row, overlaps_of
from training.measures import measure
from training.parts import Part, part_of
from training.pools import Pool, long_pools
from training.results import Evaluation
from training.rows import LengthRow, Sampling, StudyRow, Variant
from training.scores import Setting, Unit
from training.served import served_ranks

POOLINGS: tuple[Pooling, ...] = ("attention", "mean", "max")
UNITS: tuple[Unit, ...] = ("super-image", "cell", "both")


@dataclass(frozen=True)
class Subject:
    """One variant at one grid size."""

    params: Params
    corpus: Corpus
    variant: Variant
    retriever: Retriever
    grid_size: int

    @cached_property
    def part(self) -> Part:
        """Its test split."""
        return self._part(self.corpus.features[self.grid_size], filler=True)

    @property
    def branches(self) -> ScoreFusion:
        return self.retriever.branches[self.grid_size]

    def sparse_part(self) -> Part | None:
        """As many single frames as it has super images; None where N = 1 is not encoded."""
        frames = self.corpus.features.get(1)
        if frames is None or self.grid_size == 1:
            return None
        return self._part(sparse(frames, self.grid_size), filler=False)

    def _part(self, features: FeatureSet, filler: bool) -> Part:
        texts, encode = self.corpus.texts, self.params.encode
        return part_of(self.retriever, features, texts, encode, "test", filler=filler)


def measure_subject(subject: Subject, result: Evaluation) -> None:
    """Add everything that is measured of it."""
    params, part, branches = subject.params.evaluate, subject.part, subject.branches
    ranks: dict[str, Int64] = {}
    served = served_ranks(part, branches, subject.params.serve.index_unit)
    result.served.setdefault(subject.variant, {})[subject.grid_size] = measure(
        served, len(part.videos)
    )
    ranks["served"] = served
    result.study.extend(_study_rows(subject, part, "super-image", UNITS, branches, ranks))
    if frames := subject.sparse_part():
        of_frames = subject.retriever.branches[1]
        units: tuple[Unit, ...] = ("super-image",)
        result.study.extend(_study_rows(subject, frames, "sparse", units, of_frames, ranks))
    result.lengths.extend(_length_rows(subject))
    result.groups.extend(group_rows(part, subject.variant, served, params.moment_ratio_edges))
    overlaps = overlaps_of(part, branches)
    result.localisation.append(localisation_row(subject.variant, subject.grid_size, overlaps))
    result.ranks.setdefault(subject.variant, {})[subject.grid_size] = ranks


def _study_rows(
    subject: Subject,
    part: Part,
    sampling: Sampling,
    units: Sequence[Unit],
    branches: ScoreFusion,
    ranks: dict[str, Int64],
) -> Iterator[StudyRow]:
    """Rows of every unit and pooling; their ranks go into `ranks`."""
    settings = [Setting(unit, pooling, branches) for unit in units for pooling in POOLINGS]
    for setting, found in zip(settings, part.rank(part.natural, settings), strict=True):
        prefix = "" if sampling == "super-image" else f"{sampling}-"
        ranks[f"{prefix}{setting.unit}-{setting.pooling}"] = found
        yield study_row(subject, part, setting, sampling, found)


def study_row(
    subject: Subject, part: Part, setting: Setting, sampling: Sampling, ranks: Int64
) -> StudyRow:
    """One row of ranks [Q], or [seeds, Q] of as many trainings."""
    params, encodes = subject.params, part.super_images_per_video
    return StudyRow(
        dataset=params.prepare.dataset,
        split="test",
        backbone=params.encode.backbone,
        variant=subject.variant,
        recipe="",
        pooling=setting.pooling,
        unit=setting.unit,
        sampling=sampling,
        grid_size=subject.grid_size,
        resolution=params.resolution(part.grid_size),
        fps=params.encode.fps,
        measures=measure(ranks, len(part.videos)),
        objective=interval(gains(ranks)),
        encodes_per_video=encodes,
        gmacs_per_video=encodes * subject.corpus.gmacs[part.grid_size],
        seeds=1,
    )


def _length_rows(subject: Subject) -> Iterator[LengthRow]:
    part, params = subject.part, subject.params.evaluate
    settings = [Setting(unit, "attention", subject.branches) for unit in UNITS]
    settings += [Setting("super-image", pooling, subject.branches) for pooling in POOLINGS[1:]]
    pools: list[tuple[int | str, Pool]] = [("natural", part.natural)]
    pools += long_pools(part.videos, part.filler, params.lengths, params.seed)
    for name, pool in pools:
        size = sum(entry.super_images for entry in pool) / len(pool)
        for setting, ranks in zip(settings, part.rank(pool, settings), strict=True):
            yield LengthRow(
                subject.variant,
                part.grid_size,
                setting.unit,
                setting.pooling,
                name,
                size,
                measure(ranks, len(part.videos)),
            )
