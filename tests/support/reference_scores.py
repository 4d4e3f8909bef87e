"""Slow references for QASIR scores: what the index, the scorer and training must agree with."""

import math

import numpy as np

from qasir.scoring import EPSILON, Pooling, attention, pooling_weights
from qasir.types import Float32


def score_direct(
    query: Float32, vectors: Float32, tau: float, pooling: Pooling = "attention"
) -> float:
    """Return cos(q, x(q)) of query [D] and vectors [K, D], by the sum itself."""
    attended = pooling_weights(vectors @ query, tau, pooling) @ vectors
    return float(attended @ query / max(np.linalg.norm(attended), EPSILON))


def score_gram(
    similarities: Float32, gram: Float32, tau: float, pooling: Pooling = "attention"
) -> float:
    """Return the same score from similarities s = X q [K] and the Gram matrix X X^T [K, K]."""
    weights = pooling_weights(similarities, tau, pooling)
    norm = math.sqrt(max(float(weights @ gram @ weights), float(EPSILON)))
    return float(weights @ similarities) / norm


def score_packed(query: Float32, embeddings: Float32, log_weights: Float32, tau: float) -> Float32:
    """Return scores [C] of one branch, the embeddings [M, D] of C videos side by side.

    log_weights: [C, M], 0 where an embedding is the video's own, very negative where it is
    not, anything else the prior of an embedding that stands for several.
    """
    weights = attention(embeddings @ query / np.float32(tau) + log_weights, tau=1.0)
    attended = weights @ embeddings
    norms = np.maximum(np.linalg.norm(attended, axis=-1), EPSILON)
    return np.asarray(attended @ query / norms, np.float32)
