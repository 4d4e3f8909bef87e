"""Query attention over one video's super images (QASIR), in two exact forms.

    a = softmax_s(q.v_s / tau);   v(q) = sum_s a_s v_s;   score = cos(q, v(q))

tau -> 0 is max pooling, tau -> inf is mean pooling. With s = V q and the Gram matrix
G = V V^T the score is (a.s) / sqrt(a^T G a): no D-dimensional sum per query. q is a unit
vector throughout. These functions are the reference for the torch scorer and the index.
"""

import math
from typing import Literal

import numpy as np

from qasir.types import Float32

Pooling = Literal["attention", "mean", "max"]

EPSILON = np.float32(1e-12)


def attention(similarities: Float32, tau: float) -> Float32:
    """Softmax of similarities / tau over the last axis.

    >>> attention(np.array([0.0, 0.0], np.float32), tau=0.1).tolist()
    [0.5, 0.5]
    """
    logits = similarities / np.float32(tau)
    weights = np.exp(logits - logits.max(-1, keepdims=True))
    return np.asarray(weights / weights.sum(-1, keepdims=True), np.float32)


def unit_weights(similarities: Float32, tau: float, pooling: Pooling) -> Float32:
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
    """cos(q, v(q)) of query [D] and vectors [S, D], by the sum itself."""
    attended = unit_weights(vectors @ query, tau, pooling) @ vectors
    return float(attended @ query / max(np.linalg.norm(attended), EPSILON))


def score_gram(
    similarities: Float32, gram: Float32, tau: float, pooling: Pooling = "attention"
) -> float:
    """The same score from similarities s = V q [S] and the Gram matrix V V^T [S, S]."""
    weights = unit_weights(similarities, tau, pooling)
    norm = math.sqrt(max(float(weights @ gram @ weights), float(EPSILON)))
    return float(weights @ similarities) / norm
