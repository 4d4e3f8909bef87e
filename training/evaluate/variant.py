"""Measures one variant at one grid size on the test split, as a search would rank it.

The study uses `rank_split` and `rerank_all`, too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from qasir.config import CANDIDATES, IndexUnit, Params
from qasir.index import Index
from qasir.manifest import ScoreFusion
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import Retriever
from qasir.scoring import Pooling
from qasir.search import RankedVideos, rerank
from qasir.types import Float32, Int64
from training.data.dataset import Query
from training.evaluate.breakdowns import group_rows, length_rows, localisation_row, overlaps_of
from training.evaluate.corpus import Corpus, EvalSplit, FeatureSet, encode_split, sparse
from training.evaluate.measures import UNANSWERED, Measures, measure
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
from training.evaluate.scores import POOLINGS, UNITS, Setting, Unit, score_pool


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


def serving_ranks(
    split: EvalSplit, branches: ScoreFusion, index_unit: IndexUnit, candidates: int = CANDIDATES
) -> Int64:
    """Returns the rank [Q] of every query's video in a search of mode `accurate`.

    Uses the functions that answer a search: `qasir.index` recalls over one branch, `qasir.search`
    reranks the best C by both.
    """
    first = next(iter(split.videos.values()))
    index = Index(first.spec, first.embeddings.shape[-1], index_unit)
    for video_id, video in split.videos.items():
        index.put(video_id, video)
    ids, recalled = index.scores(split.query_vectors, branches.tau(index_unit))
    settings = [Setting("both", "attention", branches)]
    (both,) = score_pool(split.query_vectors, split.natural, settings)
    columns = {entry.video_id: i for i, entry in enumerate(split.natural)}
    rescored = both[:, [columns[video_id] for video_id in ids]]
    return rerank_all(split.queries, ids, recalled, rescored, candidates)


def rerank_all(
    queries: Sequence[Query],
    ids: Sequence[str],
    recalled: Float32,
    rescored: Float32,
    candidates: int,
) -> Int64:
    """Returns ranks [Q]: `recalled` [Q, V] orders all videos, `rescored` [Q, V] the best."""
    ranks = np.full(len(queries), UNANSWERED, np.int64)
    column = {video_id: i for i, video_id in enumerate(ids)}
    for row, query in enumerate(queries):
        if query.video_id in column:
            # Orders all videos by score, as `qasir.search.recall` does for one query.
            order = rerank(RankedVideos(tuple(ids), recalled[row]), recalled[row])
            best = [column[video_id] for video_id in order.ids[:candidates]]
            ranks[row] = pessimistic_rank(
                rerank(order, rescored[row, best]), query.video_id, len(best)
            )
    return ranks


def pessimistic_rank(ranking: RankedVideos, video_id: str, reranked: int) -> int:
    """Returns the rank of a video in a ranking whose first `reranked` videos were scored again.

    A tie counts against the video, as in `qasir.metrics`; recall and reranker scores are never
    compared.
    """
    place = ranking.ids.index(video_id)
    begin, end = (0, reranked) if place < reranked else (reranked, len(ranking.ids))
    ties = ranking.scores[begin:end] >= ranking.scores[place]
    return begin + int(ties.sum())
