"""Measures one variant at one grid size on the test split, as a search would rank it.

Results are broken down by video length, by group of queries, by moment, by query. The study uses
`rank_split` and `rerank_all`, too.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

from qasir.config import CANDIDATES, EvaluateParams, IndexUnit, Params
from qasir.index import Index
from qasir.manifest import ScoreFusion
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import Retriever
from qasir.moments import moments
from qasir.search import RankedVideos, rerank
from qasir.types import Float32, Float64, Int64
from training.data.dataset import Query
from training.evaluate.corpus import Corpus, EvalSplit, FeatureSet, encode_split, sparse
from training.evaluate.measures import UNANSWERED, Measures, gains, interval, measure
from training.evaluate.rows import (
    Configuration,
    FailureRow,
    GroupRow,
    LengthRow,
    LocalisationRow,
    Sampling,
    StudyRow,
    Variant,
    study_row,
)
from training.evaluate.scores import POOLINGS, UNITS, Pool, Setting, Unit, long_pools, score_pool

IOU_THRESHOLDS = (0.3, 0.5, 0.7)
WORST_QUERIES = 10


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
    split: EvalSplit, fusion: ScoreFusion, units: Sequence[Unit] = UNITS
) -> dict[Setting, Int64]:
    """Ranks the queries among the unchanged videos, by every unit and pooling: ranks [Q]."""
    settings = [Setting(unit, pooling, fusion) for unit in units for pooling in POOLINGS]
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
        encodes, gmacs = split.super_images_per_video, model.corpus.gmacs[split.grid_size]
        yield study_row(configuration, setting_ranks, len(split.videos), encodes, gmacs)


def serving_ranks(
    split: EvalSplit, branches: ScoreFusion, index_unit: IndexUnit, candidates: int = CANDIDATES
) -> Int64:
    """Returns the rank [Q] of every query's video in a search of mode `accurate`.

    Uses the functions that answer a search: `qasir.index` recalls over one branch, `qasir.search`
    reranks the best C by both.
    """
    index = Index.of(split.videos, index_unit)
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


def length_rows(
    split: EvalSplit, variant: Variant, fusion: ScoreFusion, params: EvaluateParams
) -> Iterator[LengthRow]:
    """Measures the videos as they are, lengthened, and of mixed lengths."""
    settings = [Setting(unit, "attention", fusion) for unit in UNITS]
    settings += [Setting("super-image", pooling, fusion) for pooling in POOLINGS[1:]]
    pools: list[tuple[int | str, Pool]] = [("natural", split.natural)]
    pools += long_pools(split.videos, split.filler, params.lengths, params.seed)
    for name, pool in pools:
        size = sum(entry.super_images for entry in pool) / len(pool)
        for setting, ranks in zip(settings, split.rank(pool, settings), strict=True):
            n, measures = split.grid_size, measure(ranks, len(split.videos))
            yield LengthRow(variant, n, setting.unit, setting.pooling, name, size, measures)


def group_rows(
    split: EvalSplit, variant: Variant, ranks: Int64, edges: Sequence[float]
) -> list[GroupRow]:
    """Measures every group that has a query; `edges` cut M/V into buckets.

    Buckets (low, high] of M/V are half-open; a moment of unknown length (M/V = 0) is in none.
    """
    ratios = np.array([query.moment_ratio for query in split.queries])
    kinds = np.array([query.kind or "" for query in split.queries])
    groups = {
        f"M/V ({low:g}, {high:g}]": (ratios > low) & (ratios <= high)
        for low, high in pairwise((0.0, *edges, 1.0))
    }
    groups |= {f"kind {kind}": kinds == kind for kind in sorted(set(kinds) - {""})}
    rows = []
    for name, members in groups.items():
        if members.any():
            measures = measure(ranks[members], len(split.videos))
            objective = interval(gains(ranks[members]))
            rows.append(GroupRow(variant, split.grid_size, name, measures, objective))
    return rows


def localisation_row(variant: Variant, grid_size: int, overlaps: Float64) -> LocalisationRow:
    """Measures the IoU [Q] of all queries."""
    reached = (float(100 * (overlaps >= threshold).mean()) for threshold in IOU_THRESHOLDS)
    return LocalisationRow(
        variant, grid_size, len(overlaps), float(100 * overlaps.mean()), *reached
    )


def overlaps_of(split: EvalSplit, fusion: ScoreFusion) -> Float64:
    """Returns the IoU [Q] of every query's moment and the first one found in its video.

    A query whose video could not be encoded has an IoU of 0.
    """
    overlaps = np.zeros(len(split.queries))
    for row, (query, vector) in enumerate(zip(split.queries, split.query_vectors, strict=True)):
        if video := split.videos.get(query.video_id):
            (first,) = moments(vector, video, fusion, 1)
            overlaps[row] = overlap(query, first.start, first.end)
    return overlaps


def overlap(query: Query, start: float, end: float) -> float:
    """Returns the temporal intersection over union with the annotated moment.

    >>> overlap(Query("a#enc#0", "a", "a dog", 2.0, 6.0, 40.0), 4.0, 8.0)
    0.3333333333333333
    """
    inside = min(query.end, end) - max(query.start, start)
    either = max(query.end, end) - min(query.start, start)
    return max(0.0, inside) / either if either > 0 else 0.0


def failure_rows(
    queries: Sequence[Query], ranks: Mapping[int, Int64], grid_size: int
) -> list[FailureRow]:
    """Returns the queries that rank worst at the served N; `ranks` holds ranks [Q] by N."""
    n, finest = grid_size, min(ranks)
    worst = [(queries[i], i) for i in np.argsort(-ranks[n], kind="stable")[:WORST_QUERIES]]
    return [
        FailureRow(q.query_id, q.text, n, int(ranks[n][i]), finest, int(ranks[finest][i]))
        for q, i in worst
    ]
