"""Query attention over the units of one branch (QASIR), in two exact forms, and both branches.

    a = softmax_u(q.x_u / tau);   x(q) = sum_u a_u x_u;   A(q, X; tau) = cos(q, x(q))
    score of a video = w A(q, its super images; tau_s) + (1 - w) A(q, its cells; tau_c)

tau -> 0 is max pooling, tau -> inf is mean pooling. With s = X q and the Gram matrix
G = X X^T a branch scores (a.s) / sqrt(a^T G a): no D-dimensional sum per query. q is a unit
vector throughout. These functions are the reference for the torch scorer and the index.
"""

import math
from typing import Literal

import numpy as np

from qasir.manifest import ScoreFusion
from qasir.types import Float32

Pooling = Literal["attention", "mean", "max"]

EPSILON = np.float32(1e-12)


def attention(similarities: Float32, tau: float) -> Float32:
    """Softmax of similarities / tau over the last axis.

    >>> attention(np.array([0.0, 0.0], np.float32), tau=0.1).tolist()
    [0.5, 0.5]
    """
    # In place: recall does this for every video of a library.
    weights = np.asarray(similarities / np.float32(tau), np.float32)
    weights -= weights.max(-1, keepdims=True)
    np.exp(weights, out=weights)
    weights /= weights.sum(-1, keepdims=True)
    return weights


def pooling_weights(similarities: Float32, tau: float, pooling: Pooling) -> Float32:
    """Weights over the last axis for one kind of pooling: attention, mean or max."""
    if pooling == "attention":
        return attention(similarities, tau)
    if pooling == "mean":
        return np.full_like(similarities, 1 / similarities.shape[-1])
    best = similarities.argmax(-1, keepdims=True)
    return np.asarray(np.arange(similarities.shape[-1]) == best, np.float32)


def score_direct(
    query: Float32, vectors: Float32, tau: float, pooling: Pooling = "attention"
) -> float:
    """cos(q, x(q)) of query [D] and vectors [U, D], by the sum itself."""
    attended = pooling_weights(vectors @ query, tau, pooling) @ vectors
    return float(attended @ query / max(np.linalg.norm(attended), EPSILON))


def score_gram(
    similarities: Float32, gram: Float32, tau: float, pooling: Pooling = "attention"
) -> float:
    """The same score from similarities s = X q [U] and the Gram matrix X X^T [U, U]."""
    weights = pooling_weights(similarities, tau, pooling)
    norm = math.sqrt(max(float(weights @ gram @ weights), float(EPSILON)))
    return float(weights @ similarities) / norm


def score_packed(query: Float32, embeddings: Float32, log_weights: Float32, tau: float) -> Float32:
    """Scores [C] of one branch whose units [M, D] of C videos stand side by side.

    log_weights: [C, M], 0 where a unit is the video's own, very negative where it is not,
    anything else the prior of a unit that stands for several.
    """
    weights = attention(embeddings @ query / np.float32(tau) + log_weights, tau=1.0)
    attended = weights @ embeddings
    norms = np.maximum(np.linalg.norm(attended, axis=-1), EPSILON)
    return np.asarray(attended @ query / norms, np.float32)


def blend(super_image_scores: Float32, cell_scores: Float32, branches: ScoreFusion) -> Float32:
    """Scores of both branches as one, element by element.

    >>> branches = ScoreFusion(super_image_weight=0.25, super_image_tau=0.1, cell_tau=0.1)
    >>> blend(np.array([0.8], np.float32), np.array([0.4], np.float32), branches).tolist()
    [0.5]
    """
    weight = np.float32(branches.super_image_weight)
    return np.asarray(weight * super_image_scores + (1 - weight) * cell_scores, np.float32)
