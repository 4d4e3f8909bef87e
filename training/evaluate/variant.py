"""Measures one variant at one grid size on the test split; `rank_split` also serves the study."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from qasir.config import Params
from qasir.manifest import ScoreFusion
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import Retriever
from qasir.scoring import Pooling
from qasir.types import Int64
from training.evaluate.breakdowns import group_rows, length_rows, localisation_row, overlaps_of
from training.evaluate.corpus import Corpus, FeatureSet, sparse
from training.evaluate.measures import Measures, measure
from training.evaluate.rows import (
    Configuration,
    GroupRow,
    LengthRow,
    LocalisationRow,
    Sampling,
    StudyRow,
    Variant,
    study_row,
)
from training.evaluate.scores import POOLINGS, UNITS, Setting, Unit
from training.evaluate.serving_ranks import serving_ranks
from training.evaluate.split import EvalSplit, encode_split


@dataclass(frozen=True)
class Model:
    """One variant and the corpus that it is measured on."""

    backbone: Backbone
    retriever: Retriever
    corpus: Corpus


@dataclass(frozen=True)
class Evaluation:
    """All measurements; `served` and `ranks` [Q] of every configuration by variant and N."""

    study: list[StudyRow] = field(default_factory=list)
    lengths: list[LengthRow] = field(default_factory=list)
    groups: list[GroupRow] = field(default_factory=list)
    localisation: list[LocalisationRow] = field(default_factory=list)
    served: dict[Variant, dict[int, Measures]] = field(default_factory=dict)
    ranks: dict[Variant, dict[int, dict[str, Int64]]] = field(default_factory=dict)


def rank_split(
    split: EvalSplit,
    fusion: ScoreFusion,
    units: Sequence[Unit] = UNITS,
    poolings: Sequence[Pooling] = POOLINGS,
) -> dict[Setting, Int64]:
    """Ranks the queries among the unchanged videos, by every unit and pooling: ranks [Q]."""
    settings = [Setting(unit, pooling, fusion) for unit in units for pooling in poolings]
    return dict(zip(settings, split.rank(split.natural, settings), strict=True))


def evaluate_variant(
    params: Params, model: Model, variant: Variant, grid_size: int, result: Evaluation
) -> None:
    """Adds all measurements of a variant at one grid size to `result`."""
    fusion = model.retriever.branches[grid_size]
    split = _test_split(params, model, model.corpus.features[grid_size], filler=True)
    served = serving_ranks(split, fusion, params.serve.index_unit)
    ranks = {"served": served}
    result.served.setdefault(variant, {})[grid_size] = measure(served, len(split.videos))
    result.ranks.setdefault(variant, {})[grid_size] = ranks
    found = rank_split(split, fusion)
    result.study.extend(
        _rows(params, model, variant, grid_size, split, "super-image", found, ranks)
    )
    if grid_size > 1 and (frames := model.corpus.features.get(1)):
        few = _test_split(params, model, sparse(frames, grid_size), filler=False)
        found = rank_split(few, model.retriever.branches[1], ("super-image",))
        result.study.extend(_rows(params, model, variant, grid_size, few, "sparse", found, ranks))
    result.lengths.extend(length_rows(split, variant, fusion, params.evaluate))
    result.groups.extend(group_rows(split, variant, served, params.evaluate.moment_ratio_edges))
    overlaps = overlaps_of(split, fusion)
    result.localisation.append(localisation_row(variant, grid_size, overlaps))


def _test_split(params: Params, model: Model, features: FeatureSet, *, filler: bool) -> EvalSplit:
    texts = model.corpus.texts
    return encode_split(model.retriever, features, texts, params.encode, "test", filler=filler)


def _rows(
    params: Params,
    model: Model,
    variant: Variant,
    grid_size: int,
    split: EvalSplit,
    sampling: Sampling,
    found: dict[Setting, Int64],
    ranks: dict[str, Int64],
) -> Iterator[StudyRow]:
    """Yields a row per setting and adds its ranks to `ranks`."""
    prefix = "" if sampling == "super-image" else f"{sampling}-"
    for setting, setting_ranks in found.items():
        ranks[f"{prefix}{setting.unit}-{setting.pooling}"] = setting_ranks
        configuration = Configuration(
            dataset=params.prepare.dataset,
            split="test",
            backbone=params.encode.backbone,
            variant=variant,
            recipe="",
            pooling=setting.pooling,
            unit=setting.unit,
            sampling=sampling,
            grid_size=grid_size,
            resolution=params.resolution(split.grid_size),
            fps=params.encode.fps,
        )
        yield study_row(
            configuration,
            setting_ranks,
            len(split.videos),
            split.super_images_per_video,
            model.corpus.gmacs[split.grid_size],
        )
