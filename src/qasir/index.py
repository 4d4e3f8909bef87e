"""Exact QASIR recall over one branch of a library, super images or cells.

An `Index` is an immutable snapshot of segments: a change makes another one, so that searches
never wait for changes. A search scans int8 codes of every video, which gives each score up to a
known error. It then scores exactly, from float16, every video that may be among the best k.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Protocol

import numpy as np

from qasir import kernels
from qasir.config import IndexUnit
from qasir.errors import FingerprintMismatch, NotFound
from qasir.manifest import EmbeddingSpec
from qasir.scoring import SCORE_DECIMALS
from qasir.search import ranked
from qasir.segments import Part, Segment, SegmentVideo, build, merged
from qasir.threads import cores, run_all
from qasir.types import Bool, Float32, Float64, Int64
from qasir.vectors import VideoVectors

# How many standard deviations an estimated score may be off. Over 2 million pairs of queries
# and videos, of real and of random vectors, the largest was 4.5; a larger one widens the margin.
MARGIN = 8.0
# Vectors that one thread scans at a time: a few milliseconds.
CHUNK = 1 << 15


@dataclass(frozen=True)
class Recall:
    """The best k videos for one query, best first; ties go by id.

    scores: float32 [k]; count, mean, deviation: of the scores of all videos that were searched;
    seconds: how much video that was.
    """

    ids: tuple[str, ...]
    scores: Float32
    count: int
    mean: float
    deviation: float
    seconds: float

    @property
    def z_scores(self) -> Float32:
        """How many standard deviations each score lies above the mean, float32 [k]."""
        if self.deviation <= 0:
            return np.zeros_like(self.scores)
        return np.asarray((self.scores - self.mean) / self.deviation, np.float32)


# A segment, where its videos begin among all, and a range [first, last).
Piece = tuple[Segment, int, int, int]


class Recaller(Protocol):
    """Finds the best videos of a library; `Index` does it in this process."""

    def search(
        self, queries: Float32, tau: float, k: int, chosen: Sequence[Bool | None] = ()
    ) -> list[Recall]:
        """Return the best k videos for each unit query [Q, D]; see `Index.search`."""


@dataclass(frozen=True)
class Index:
    """An immutable snapshot of the videos of one spec; safe to share by threads."""

    spec: EmbeddingSpec
    dim: int
    unit: IndexUnit
    parts: tuple[Part, ...] = ()

    @classmethod
    def of(cls, videos: Mapping[str, VideoVectors], unit: IndexUnit) -> "Index":
        """Return an index of videos of one spec, by id; at least one."""
        first = next(iter(videos.values()))
        empty = cls(first.spec, first.embeddings.shape[-1], unit)
        return empty.with_videos(SegmentVideo(video_id, v) for video_id, v in videos.items())

    def __len__(self) -> int:
        return sum(int(part.kept.sum()) for part in self.parts)

    def __contains__(self, video_id: str) -> bool:
        return self._find(video_id) is not None

    @property
    def ids(self) -> list[str]:
        """The V video ids in the order of `scores` and of the masks of `search`."""
        return [
            part.segment.names[position]
            for part in self.parts
            for position in np.flatnonzero(part.kept).tolist()
        ]

    @property
    def sources(self) -> dict[str, str]:
        """What the vectors of each video were read from, by id."""
        return {
            part.segment.names[position]: part.segment.sources[position].decode()
            for part in self.parts
            for position in np.flatnonzero(part.kept).tolist()
        }

    def get(self, video_id: str) -> VideoVectors:
        """Return one video's embeddings, mask and times.

        Raises:
            NotFound: the index does not hold this video.
        """
        found = self._find(video_id)
        if found is None:
            raise NotFound(f"video '{video_id}' is not in the index of {len(self)} videos")
        part, position = found
        return part.segment.get(position, self.spec)

    def source(self, video_id: str) -> str | None:
        """Return what a video's vectors were read from, None if the index does not hold it."""
        found = self._find(video_id)
        if found is None:
            return None
        part, position = found
        source: bytes = part.segment.sources[position]
        return source.decode()

    def with_videos(self, videos: Iterable[SegmentVideo]) -> "Index":
        """Return an index that also holds these videos; they replace those with the same id.

        Raises:
            FingerprintMismatch: a video has another spec or dimension D.
        """
        added = {video.video_id: self._checked(video) for video in videos}
        if not added:
            return self
        segment = build(added.values(), self.unit)
        kept = self.without(added)
        parts = (*kept.parts, Part.whole(segment))
        return replace(self, parts=merged(parts, self.spec, self.unit))

    def without(self, video_ids: Iterable[str]) -> "Index":
        """Return an index without these videos; those that it does not hold are ignored."""
        ids = list(video_ids)
        parts = []
        for part in self.parts:
            positions = [p for i in ids if (p := part.segment.find(i)) is not None and part.kept[p]]
            if positions:
                kept = part.kept.copy()
                kept[positions] = False
                part = replace(part, kept=kept)
            parts.append(part)
        return replace(self, parts=merged(parts, self.spec, self.unit))

    def search(
        self, queries: Float32, tau: float, k: int, chosen: Sequence[Bool | None] = ()
    ) -> list[Recall]:
        """Return the best k videos for each unit query [Q, D].

        chosen: for each query which videos to search, bool [V] in the order of `ids`; all without.
        """
        masks = [*chosen, *[None] * (len(queries) - len(chosen))]
        selected = np.stack([self._mask(mask) for mask in masks])
        estimates, deviations = self._scan(queries, tau, selected)
        return [
            self._best(query, tau, k, *rows)
            for query, *rows in zip(queries, selected, estimates, deviations, strict=True)
        ]

    def scores(self, queries: Float32, tau: float) -> tuple[list[str], Float32]:
        """Return the V video ids and the exact scores float32 [Q, V] of unit queries [Q, D]."""
        scores = np.empty((len(queries), len(self)), np.float32)
        positions = np.flatnonzero(self._mask(None))
        for row, query in enumerate(queries):
            scores[row] = self._exact(query, tau, positions)
        return self.ids, scores

    def _scan(self, queries: Float32, tau: float, selected: Bool) -> tuple[Float32, Float32]:
        """Estimate scores [Q, V] and their deviations; V counts deleted videos as well."""
        estimates = np.full(selected.shape, -np.inf, np.float32)
        deviations = np.zeros(selected.shape, np.float32)
        contiguous = np.ascontiguousarray(queries, np.float32)

        def run(piece: Piece) -> None:
            segment, offset, first, last = piece
            videos = slice(offset, offset + len(segment))
            kernels.scan(
                segment.codes,
                segment.scales,
                segment.errors,
                segment.starts,
                contiguous,
                np.float32(tau),
                selected[:, videos],
                first,
                last,
                estimates[:, videos],
                deviations[:, videos],
            )

        size = sum(part.segment.codes.size for part in self.parts)
        run_all(run, list(self._pieces()), len(queries) * size)
        return estimates, deviations

    def _pieces(self) -> Iterator[Piece]:
        """Split all segments into ranges of videos with about CHUNK vectors each."""
        offset = 0
        for part in self.parts:
            starts = part.segment.starts
            bounds = np.searchsorted(starts, np.arange(0, starts[-1] + CHUNK, CHUNK))
            for first, last in pairwise(np.minimum(bounds, len(part.segment)).tolist()):
                if first < last:
                    yield part.segment, offset, first, last
            offset += len(part.segment)

    def _best(
        self,
        query: Float32,
        tau: float,
        k: int,
        selected: Bool,
        estimates: Float32,
        deviations: Float32,
    ) -> Recall:
        """Score every video exactly that may be among the best k."""
        positions = np.flatnonzero(selected)
        searched, margin = estimates[positions].astype(np.float64), MARGIN
        while True:
            errors = margin * deviations[positions].astype(np.float64)
            candidates = _may_be_best(searched, errors, k)
            exact = self._exact(query, tau, positions[candidates])
            if np.all(np.abs(exact - searched[candidates]) <= errors[candidates]):
                break
            margin *= 2
        searched[candidates] = exact
        best = ranked(self._names(positions[candidates]), exact)
        return Recall(
            ids=best.ids[:k],
            scores=best.scores[:k],
            count=len(positions),
            mean=float(searched.mean()) if len(positions) else 0.0,
            deviation=float(searched.std()) if len(positions) else 0.0,
            seconds=float(self._seconds[positions].sum()),
        )

    def _exact(self, query: Float32, tau: float, positions: Int64) -> Float32:
        """Score videos at these positions among all segments' videos, float32 [C]."""
        scores = np.empty(len(positions), np.float32)
        bounds = np.searchsorted(positions, self._offsets)
        pieces, vectors = list[Piece](), 0
        for part, begin, end, offset in zip(
            self.parts, bounds, bounds[1:], self._offsets, strict=False
        ):
            videos = positions[begin:end] - offset
            vectors += int((part.segment.starts[videos + 1] - part.segment.starts[videos]).sum())
            step = max(1, -(-int(end - begin) // (4 * cores())))
            pieces += [
                (part.segment, first, min(first + step, int(end)), int(offset))
                for first in range(int(begin), int(end), step)
            ]

        def run(piece: Piece) -> None:
            segment, first, last, offset = piece
            kernels.score(
                segment.embeddings.view(np.int16).reshape(-1, self.dim),
                segment.rows,
                segment.starts,
                query,
                np.float32(tau),
                positions[first:last] - offset,
                scores[first:last],
            )

        run_all(run, pieces, vectors * self.dim)
        return scores

    def _mask(self, chosen: Bool | None) -> Bool:
        """Which of all segments' videos to search, bool [V with deleted ones]."""
        kept = np.concatenate([part.kept for part in self.parts] or [np.zeros(0, np.bool_)])
        if chosen is not None:
            kept[kept] = chosen
        return kept

    def _names(self, positions: Int64) -> list[str]:
        numbers = np.searchsorted(self._offsets, positions, side="right") - 1
        places = positions - np.array(self._offsets)[numbers]
        return [
            self.parts[number].segment.ids[place].decode()
            for number, place in zip(numbers.tolist(), places.tolist(), strict=True)
        ]

    @cached_property
    def _offsets(self) -> list[int]:
        """Where each segment's videos begin among all, and their number."""
        sizes = [len(part.segment) for part in self.parts]
        return [0, *np.cumsum(sizes).tolist()]

    @cached_property
    def _seconds(self) -> Float64:
        return np.concatenate([part.segment.seconds for part in self.parts] or [np.zeros(0)])

    def _find(self, video_id: str) -> tuple[Part, int] | None:
        for part in reversed(self.parts):
            position = part.segment.find(video_id)
            if position is not None and part.kept[position]:
                return part, position
        return None

    def _checked(self, video: SegmentVideo) -> SegmentVideo:
        vectors = video.vectors
        if vectors.spec != self.spec or vectors.embeddings.shape[-1] != self.dim:
            raise FingerprintMismatch(
                f"video '{video.video_id}' has {vectors.spec} with D "
                f"{vectors.embeddings.shape[-1]}, the index {self.spec} with D {self.dim}; "
                f"ingest the video again"
            )
        return video


def _may_be_best(scores: Float64, errors: Float64, k: int) -> Int64:
    """Return the positions of all scores [V] that may be among the best k, given their errors."""
    if k >= len(scores):
        return np.arange(len(scores))
    threshold = np.partition(scores - errors, -k)[-k]
    # Scores are rounded before they are compared.
    return np.flatnonzero(scores + errors >= threshold - 10.0**-SCORE_DECIMALS)
