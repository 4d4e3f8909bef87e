"""An immutable part of an index: some videos, with their vectors as they are scanned and read.

Recall scans int8 codes of one branch, super images or cells, which lie apart from everything
else. The embeddings beside them are read only for the videos that are scored exactly, reranked
or shown. A segment in a folder is memory-mapped, so all processes of a machine share it.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from qasir.artifacts import sync_folder
from qasir.config import IndexUnit
from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec
from qasir.types import Bool, Bytes, Float16, Float32, Float64, Int8, Int64
from qasir.vectors import VideoVectors, searched_positions, to_float32

LEVELS = 127
CHECKSUMS = "checksums.json"
PIECE_BYTES = 1 << 24
# Segments are merged while a smaller one comes within this factor of the one before it, so that
# a vector is copied a logarithmic number of times, and not above a size that fits in memory.
MERGE_FACTOR = 4
MERGED_VECTORS = 1 << 16


@dataclass(frozen=True)
class Segment:
    """V videos in the order of their ids, S super images and U searched vectors.

    ids, sources: [V], the videos and what their vectors were read from; seconds: float64 [V];
    image_starts: int64 [V + 1], where each video's super images begin; embeddings: float16
    [S, 1 + P, D], mask: bool [S, P], times: float64 [S, P, 2], as in `VideoVectors`.
    starts: int64 [V + 1], where each video's searched vectors begin; rows: int64 [U], where they
    lie among the S * (1 + P) embeddings; codes: int8 [U, D], scales: float32 [U], with vector
    u = scales[u] * codes[u]; errors: float32 [U], the expected error of its product with a unit
    vector.
    """

    ids: Bytes
    sources: Bytes
    seconds: Float64
    image_starts: Int64
    embeddings: Float16
    mask: Bool
    times: Float64
    starts: Int64
    rows: Int64
    codes: Int8
    scales: Float32
    errors: Float32
    folder: Path | None = field(default=None, compare=False)

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def names(self) -> list[str]:
        """The ids as text."""
        return [video_id.decode() for video_id in self.ids.tolist()]

    def find(self, video_id: str) -> int | None:
        """Return the position of a video, None if it is not here."""
        key = video_id.encode()
        position = int(np.searchsorted(self.ids, key))
        # numpy cuts what is longer than its items.
        return position if position < len(self) and self.ids[position] == key else None

    def get(self, position: int, spec: EmbeddingSpec) -> VideoVectors:
        """Return a video's vectors, as views of the segment."""
        part = slice(self.image_starts[position], self.image_starts[position + 1])
        return VideoVectors(spec, self.embeddings[part], self.mask[part], self.times[part])

    @property
    def size(self) -> int:
        """The number of searched vectors U."""
        return len(self.codes)


@dataclass(frozen=True)
class SegmentVideo:
    """A video to put into a segment; `source` says what its vectors were read from."""

    video_id: str
    vectors: VideoVectors
    source: str = ""
    seconds: float = 0.0


def build(videos: Iterable[SegmentVideo], unit: IndexUnit) -> Segment:
    """Make a segment of videos of one spec, each with another id; at least one."""
    ordered = sorted(videos, key=lambda video: video.video_id.encode())
    embeddings = np.concatenate([video.vectors.embeddings for video in ordered])
    mask = np.concatenate([video.vectors.mask for video in ordered])
    images = [len(video.vectors.embeddings) for video in ordered]
    sizes = [len(video.vectors.positions(unit)) for video in ordered]
    rows = searched_positions(mask, unit)
    codes, scales, errors = quantise(embeddings.reshape(-1, embeddings.shape[-1])[rows])
    return Segment(
        ids=np.array([video.video_id.encode() for video in ordered], np.bytes_),
        sources=np.array([video.source.encode() for video in ordered], np.bytes_),
        seconds=np.array([video.seconds for video in ordered]),
        image_starts=_starts(images),
        embeddings=embeddings,
        mask=mask,
        times=np.concatenate([video.vectors.times for video in ordered]),
        starts=_starts(sizes),
        rows=rows,
        codes=codes,
        scales=scales,
        errors=errors,
    )


def quantise(vectors: Float16) -> tuple[Int8, Float32, Float32]:
    """Return codes, scales and errors of vectors [U, D]; see `Segment`.

    >>> codes, scales, errors = quantise(np.array([[0.6, -0.8]], np.float16))
    >>> codes.tolist(), (codes * scales).astype(float).round(2).tolist()
    ([[95, -127]], [[0.6, -0.8]])
    """
    codes = np.empty(vectors.shape, np.int8)
    scales = np.empty(len(vectors), np.float32)
    errors = np.empty(len(vectors), np.float32)
    step = max(1, PIECE_BYTES // (4 * vectors.shape[-1]))
    for begin in range(0, len(vectors), step):
        part = slice(begin, begin + step)
        exact = to_float32(vectors[part])
        scale = np.maximum(np.abs(exact).max(-1), np.finfo(np.float32).tiny) / LEVELS
        codes[part] = np.rint(exact / scale[:, None])
        scales[part] = scale
        lost = exact - codes[part] * scale[:, None]
        # A vector of random direction and length |lost|, along one axis of D.
        errors[part] = np.linalg.norm(lost, axis=-1) / np.sqrt(vectors.shape[-1])
    return codes, scales, errors


@dataclass(frozen=True)
class Part:
    """A segment of an index, and which of its videos are still in it, bool [V]."""

    segment: Segment
    kept: Bool

    @classmethod
    def whole(cls, segment: Segment) -> "Part":
        """Return a segment with all its videos."""
        return cls(segment, np.ones(len(segment), np.bool_))

    @property
    def count(self) -> int:
        """The number of searched vectors that are still in it."""
        return int(np.diff(self.segment.starts)[self.kept].sum())


def merged(parts: Sequence[Part], spec: EmbeddingSpec, unit: IndexUnit) -> tuple[Part, ...]:
    """Drop what is empty; merge small segments, and rewrite those that are mostly deleted."""
    done: list[Part] = []
    for part in parts:
        if not part.kept.any():
            continue
        group, size = [part], part.count
        while done and done[-1].count <= min(MERGE_FACTOR * size, MERGED_VECTORS - size):
            group.insert(0, done.pop())
            size += group[0].count
        if len(group) > 1 or size * 2 < part.segment.size:
            part = _rewritten(group, spec, unit)
        done.append(part)
    return tuple(done)


def _rewritten(parts: Sequence[Part], spec: EmbeddingSpec, unit: IndexUnit) -> Part:
    """Make one segment of the videos that are still in several."""
    videos = (
        SegmentVideo(
            part.segment.names[position],
            part.segment.get(position, spec),
            part.segment.sources[position].decode(),
            float(part.segment.seconds[position]),
        )
        for part in parts
        for position in np.flatnonzero(part.kept).tolist()
    )
    return Part.whole(build(videos, unit))


def save(segment: Segment, folder: Path) -> Segment:
    """Write a segment to a new folder and return it memory-mapped."""
    folder.mkdir(parents=True)
    checksums = {}
    for name in ARRAYS:
        array = np.ascontiguousarray(getattr(segment, name))
        np.save(folder / f"{name}.npy", array)
        checksums[name] = zlib.crc32(array.data)
    (folder / CHECKSUMS).write_text(json.dumps(checksums))
    sync_folder(folder)
    return load(folder)


def load(folder: Path) -> Segment:
    """Memory-map the segment in a folder and check all that a scan reads.

    Raises:
        CorruptArtifact: a file is missing or differs from its checksum.
    """
    try:
        # "c": pages are shared until somebody writes, which nobody does.
        arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="c") for name in ARRAYS}
        segment = Segment(**{name: np.asarray(a) for name, a in arrays.items()}, folder=folder)
        _check(segment, [name for name in ARRAYS if name != "embeddings"])
    except (OSError, ValueError, KeyError) as error:
        raise CorruptArtifact(f"{folder} is not an index segment: {error}") from error
    return segment


def verify(segment: Segment) -> None:
    """Read the embeddings of a segment whole and compare them with their checksum.

    Raises:
        CorruptArtifact: they differ.
    """
    _check(segment, ["embeddings"])


def _check(segment: Segment, names: Iterable[str]) -> None:
    assert segment.folder is not None
    checksums: Mapping[str, int] = json.loads((segment.folder / CHECKSUMS).read_text())
    for name in names:
        if zlib.crc32(getattr(segment, name).data) != checksums[name]:
            raise CorruptArtifact(f"{segment.folder / name}.npy has changed since it was written")


ARRAYS = tuple(entry.name for entry in fields(Segment) if entry.name != "folder")


def _starts(sizes: Sequence[int]) -> Int64:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
