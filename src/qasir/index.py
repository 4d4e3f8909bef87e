"""Exact QASIR recall over one branch of a library, super images or cells, held in memory.

Videos with equally many embeddings share one block [B, K, D], so the whole library is a few
dense products and nothing is ragged. While K <= D/4 a block also holds its Gram matrices
[B, K, K], and a query costs one pass over the vectors. Longer videos use the direct form,
one video at a time, while its rows are in cache.
"""

from dataclasses import dataclass, field

import numpy as np

from qasir.config import IndexUnit
from qasir.errors import FingerprintMismatch, NotFound
from qasir.manifest import EmbeddingSpec
from qasir.scoring import EPSILON, Pooling, pooling_weights
from qasir.types import Float32
from qasir.vectors import VideoVectors, to_float32

GROWTH = 1.5
# Bounds the similarities that an evaluation holds at once.
QUERY_BATCH = 64


@dataclass
class Block:
    """Videos of `size` embeddings each; the first `len(ids)` rows of the arrays are in use."""

    size: int
    dim: int
    ids: list[str] = field(default_factory=list)
    vectors: Float32 = field(init=False)
    grams: Float32 = field(init=False)

    def __post_init__(self) -> None:
        self.vectors = np.empty((0, self.size, self.dim), np.float32)
        self.grams = np.empty((0, self.size, self.size), np.float32)

    @property
    def has_grams(self) -> bool:
        return self.size * 4 <= self.dim

    def append(self, video_id: str, vectors: Float32) -> None:
        row = len(self.ids)
        if row == len(self.vectors):
            capacity = max(row + 1, int(row * GROWTH))
            self.vectors = _grown(self.vectors, capacity)
            self.grams = _grown(self.grams, capacity if self.has_grams else 0)
        self.vectors[row] = vectors
        if self.has_grams:
            self.grams[row] = vectors @ vectors.T
        self.ids.append(video_id)

    def remove(self, row: int) -> None:
        """Remove one video by moving the last one into its row."""
        last = len(self.ids) - 1
        self.ids[row] = self.ids[last]
        self.vectors[row] = self.vectors[last]
        if self.has_grams:
            self.grams[row] = self.grams[last]
        self.ids.pop()

    def scores(self, queries: Float32, tau: float, pooling: Pooling) -> Float32:
        """Return cosine scores [Q, B] of unit queries [Q, D]."""
        score = self._by_gram if self.has_grams else self._by_sum
        return score(queries, tau, pooling)

    def _by_gram(self, queries: Float32, tau: float, pooling: Pooling) -> Float32:
        count = len(self.ids)
        rows = self.vectors[:count].reshape(-1, self.dim)
        similarities = (queries @ rows.T).reshape(len(queries), count, self.size)
        # numpy sums slowly over a short last axis: store the embeddings of a video far apart.
        apart = np.moveaxis(np.moveaxis(similarities, -1, 0).copy(), 0, -1)
        weights = np.ascontiguousarray(pooling_weights(apart, tau, pooling))
        grams = self.grams[:count]
        norms = np.matmul(weights.transpose(1, 0, 2), grams).transpose(1, 0, 2)
        squares = np.maximum(np.einsum("qvk,qvk->qv", norms, weights), EPSILON)
        result: Float32 = np.einsum("qvk,qvk->qv", weights, similarities) / np.sqrt(squares)
        return result

    def _by_sum(self, queries: Float32, tau: float, pooling: Pooling) -> Float32:
        result = np.empty((len(queries), len(self.ids)), np.float32)
        for row in range(len(self.ids)):
            vectors = self.vectors[row]
            similarities = queries @ vectors.T
            attended = pooling_weights(similarities, tau, pooling) @ vectors
            norms = np.maximum(np.linalg.norm(attended, axis=-1), EPSILON)
            result[:, row] = (attended * queries).sum(-1) / norms
        return result


class Index:
    """The videos of one spec, scored exactly over their super images or over their cells.

    Not thread-safe: take a lock to change it while others search.
    """

    def __init__(self, spec: EmbeddingSpec, dim: int, unit: IndexUnit) -> None:
        self.spec = spec
        self.dim = dim
        self.unit = unit
        self._blocks: dict[int, Block] = {}
        self._videos: dict[str, VideoVectors] = {}

    def __len__(self) -> int:
        return len(self._videos)

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._videos

    @property
    def ids(self) -> list[str]:
        """The V video ids in the order of `scores`; `put` and `drop` may change that order."""
        return [video_id for block in self._blocks.values() for video_id in block.ids]

    def get(self, video_id: str) -> VideoVectors:
        """Return one video's embeddings, mask and times.

        Raises:
            NotFound: the index does not hold this video.
        """
        if video_id not in self._videos:
            raise NotFound(f"video '{video_id}' is not in the index of {len(self)} videos")
        return self._videos[video_id]

    def put(self, video_id: str, video: VideoVectors) -> None:
        """Add a video, or replace the one with this id.

        Raises:
            FingerprintMismatch: the video has another spec or dimension D.
        """
        if video.spec != self.spec or video.embeddings.shape[-1] != self.dim:
            raise FingerprintMismatch(
                f"video '{video_id}' has {video.spec} with D {video.embeddings.shape[-1]}, "
                f"the index {self.spec} with D {self.dim}; ingest the video again"
            )
        self.drop(video_id)
        rows = to_float32(video.rows(self.unit))
        block = self._blocks.setdefault(len(rows), Block(len(rows), self.dim))
        block.append(video_id, rows)
        self._videos[video_id] = video

    def drop(self, video_id: str) -> None:
        """Remove a video, if the index holds it."""
        video = self._videos.pop(video_id, None)
        if video is None:
            return
        block = self._blocks[len(video.rows(self.unit))]
        block.remove(block.ids.index(video_id))
        if not block.ids:
            del self._blocks[block.size]

    def scores(
        self, queries: Float32, tau: float, pooling: Pooling = "attention"
    ) -> tuple[list[str], Float32]:
        """Return the V video ids and the float32 scores [Q, V] of unit queries [Q, D]."""
        scores = np.empty((len(queries), len(self)), np.float32)
        for first in range(0, len(queries), QUERY_BATCH):
            rows, column = slice(first, first + QUERY_BATCH), 0
            for block in self._blocks.values():
                columns = slice(column, column + len(block.ids))
                scores[rows, columns] = block.scores(queries[rows], tau, pooling)
                column = columns.stop
        return self.ids, scores


def _grown(array: Float32, capacity: int) -> Float32:
    grown = np.empty((capacity, *array.shape[1:]), np.float32)
    grown[: len(array)] = array
    return grown
