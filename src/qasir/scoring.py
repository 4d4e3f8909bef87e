"""QASIR's query attention (arXiv 2312.00414): one video's embeddings to a score, in numpy.

    a = softmax_i(q.x_i / tau);   x(q) = sum_i a_i x_i;   A(q, X; tau) = cos(q, x(q))
    score of a video = w A(q, its super images; tau_s) + (1 - w) A(q, its cells; tau_c)

tau -> 0 is max pooling, tau -> inf is mean pooling. With s = X q and the Gram matrix
G = X X^T, A = (a.s) / sqrt(a^T G a), which needs no D-dimensional sum per query. q is a unit
vector throughout. The torch scorer (`qasir.modeling.retriever`) and `qasir.index` agree with
these functions within the tested tolerance.
"""

from typing import Literal

import numpy as np

from qasir.manifest import ScoreFusion
from qasir.types import Float32

Pooling = Literal["attention", "mean", "max"]

EPSILON = np.float32(1e-12)
# Scores are rounded before they are compared, because the last bits depend on who computes them.
SCORE_DECIMALS = 6


def attention(similarities: Float32, tau: float) -> Float32:
    """Return the softmax of similarities / tau over the last axis.

    >>> attention(np.array([0.0, 0.0], np.float32), tau=0.1).tolist()
    [0.5, 0.5]
    """
    # In place, because recall does this for every video of the library.
    weights = np.asarray(similarities / np.float32(tau), np.float32)
    weights -= weights.max(-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(-1, keepdims=True)
    return weights


def pooling_weights(similarities: Float32, tau: float, pooling: Pooling) -> Float32:
    """Return the weights over the last axis; "max" puts all weight on the first maximum."""
    if pooling == "attention":
        return attention(similarities, tau)
    if pooling == "mean":
        return np.full_like(similarities, 1 / similarities.shape[-1])
    best = similarities.argmax(-1, keepdims=True)
    return np.asarray(np.arange(similarities.shape[-1]) == best, np.float32)


def blend(super_image_scores: Float32, cell_scores: Float32, fusion: ScoreFusion) -> Float32:
    """Combine the scores of both branches, element by element.

    >>> fusion = ScoreFusion(super_image_weight=0.25, super_image_tau=0.1, cell_tau=0.1)
    >>> blend(np.array([0.8], np.float32), np.array([0.4], np.float32), fusion).tolist()
    [0.5]
    """
    weight = np.float32(fusion.super_image_weight)
    return np.asarray(weight * super_image_scores + (1 - weight) * cell_scores, np.float32)
