"""Fold videos into the attention scorer's input: few embeddings for each, the same score.

The scorer reads at most `limit` + 1 embeddings of a video in each branch: those nearest to the
query, and one that stands for all the others. An attention-weighted sum can be split anywhere,
so both together give exactly the score of the whole video.
"""

from collections.abc import Sequence

import numpy as np

from qasir import kernels
from qasir.config import IndexUnit
from qasir.manifest import ScoreFusion
from qasir.search import FoldedEmbeddings, ScorerInput, pack
from qasir.threads import run_all
from qasir.types import Float16, Float32, Int64
from qasir.vectors import VideoVectors, to_float32

EMBEDDINGS_PER_VIDEO = 4
UNITS: tuple[IndexUnit, ...] = ("super-image", "cell")


def scorer_input(
    query: Float32,
    videos: Sequence[VideoVectors],
    fusion: ScoreFusion,
    slots: int,
    limit: int = EMBEDDINGS_PER_VIDEO,
) -> ScorerInput:
    """Fold and pack at most C = `slots` videos for a query [D].

    A branch of weight 0 is sent as a single dummy embedding.

    Raises:
        InvalidInput: there are more videos than slots, or none.
    """
    weight = fusion.super_image_weight
    branches: dict[IndexUnit, bool] = {"super-image": weight > 0, "cell": weight < 1}
    folded: dict[tuple[IndexUnit, int], FoldedEmbeddings] = {}

    def fold(piece: tuple[IndexUnit, int]) -> None:
        unit, number = piece
        embeddings, rows = videos[number].flat, videos[number].positions(unit)
        folded[piece] = fold_embeddings(query, embeddings, rows, fusion.tau(unit), limit)

    pieces = [(unit, number) for unit in UNITS if branches[unit] for number in range(len(videos))]
    run_all(fold, pieces, size=sum(video.flat.size for video in videos))
    whole, parts = (
        [folded[unit, number] for number in range(len(videos)) if branches[unit]] for unit in UNITS
    )
    return pack(whole, parts, slots)


def fold_embeddings(
    query: Float32,
    embeddings: Float16,
    rows: Int64,
    tau: float,
    limit: int = EMBEDDINGS_PER_VIDEO,
) -> FoldedEmbeddings:
    """Keep the `limit` rows nearest to the query, in any order, and fold the rest into one.

    embeddings: contiguous [_, D]; rows: which of them are the video's, int64 [K]. The folded row
    is the attention-weighted mean of the rest; its log weight is the prior that gives it the
    attention that the rest would get.
    """
    if len(rows) <= limit + 1:
        return FoldedEmbeddings(embeddings[rows], np.zeros(len(rows), np.float32))
    best, mean = np.empty(limit, np.int64), np.empty(len(query), np.float32)
    halves = embeddings.view(np.int16)
    logit = kernels.fold(halves, rows, query, np.float32(tau), best, mean)
    folded = mean.astype(np.float16)
    log_weights = np.zeros(limit + 1, np.float32)
    # Minus what the scorer adds itself: its similarity to the folded vector, after rounding.
    log_weights[-1] = logit - to_float32(folded) @ query / tau
    return FoldedEmbeddings(np.concatenate([embeddings[rows[best]], folded[None]]), log_weights)
