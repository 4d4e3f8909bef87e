"""The indexes that a process searches, as of the newest change of the catalogue.

Every process reads the change number before each search, so all of them give the same answers.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qasir.config import IndexUnit
from qasir.filters import Filter
from qasir.index import Index, Recall
from qasir.manifest import EmbeddingSpec, Manifest
from qasir.types import Bool, Float32
from qasir.vectors import VideoVectors
from service.catalogue.catalogue import Catalogue
from service.catalogue.videos import Video
from service.search.stored_index import IndexSnapshot, StoredIndex, index_folder
from service.storage.media import MediaStore

# The pages of one search, and the same search by many people, have the same filter.
CACHED_FILTERS = 32
# Longer than any search: one that began before an activation may still need the old index.
IDLE_SECONDS = 30.0
# A temperature so low that the most similar embedding has all of the attention.
NEAREST_TAU = 1e-6


@dataclass(frozen=True)
class RecallResult:
    """The best videos for one query, with their vectors by id, best first.

    change_number: the newest change about a video of this index.
    """

    recall: Recall
    vectors: Mapping[str, VideoVectors]
    change_number: int


@dataclass(frozen=True)
class Nearest:
    """The video with the embedding most similar to a vector, and that similarity (cosine)."""

    video_id: str
    similarity: float


class IndexCache:
    """Indexes by spec and unit; safe to share by threads."""

    def __init__(
        self, folder: Path, catalogue: Catalogue, media: MediaStore, patience_seconds: float
    ) -> None:
        self._folder = folder
        self._catalogue = catalogue
        self._media = media
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._loaded: dict[tuple[EmbeddingSpec, IndexUnit], LoadedIndex] = {}
        self._reported: set[str] = set()

    def search(
        self,
        manifest: Manifest,
        spec: EmbeddingSpec,
        query: Float32,
        count: int,
        chosen_by: Filter | None = None,
    ) -> RecallResult:
        """Find the `count` best of the videos that a filter selects, for a unit query [D].

        Raises:
            Overloaded: the index is being built and takes longer than a search may.
        """
        loaded = self._get(manifest, spec)
        snapshot = loaded.stored.current(self._patience_seconds)
        mask = None if chosen_by is None else loaded.mask(snapshot, chosen_by, self._catalogue)
        tau = manifest.branches[spec.grid_size].tau(snapshot.index.unit)
        (recall,) = snapshot.index.search(query[None], tau, count, [mask])
        vectors = {video_id: snapshot.index.get(video_id) for video_id in recall.ids}
        return RecallResult(recall, vectors, snapshot.state.relevant)

    def nearest(
        self, manifest: Manifest, spec: EmbeddingSpec, vectors: Float32
    ) -> list[Nearest | None]:
        """Find for each unit vector [Q, D] the video with the most similar embedding.

        Raises:
            Overloaded: as `search`.
        """
        index = self._current(manifest, spec).index
        return [
            Nearest(recall.ids[0], float(recall.scores[0])) if recall.ids else None
            for recall in index.search(vectors, NEAREST_TAU, 1)
        ]

    def get(self, manifest: Manifest, spec: EmbeddingSpec, video_id: str) -> VideoVectors:
        """Return one indexed video's vectors.

        Raises:
            NotFound: it is not indexed.
            Overloaded: as `search`.
        """
        return self._current(manifest, spec).index.get(video_id)

    def videos(self, video_ids: Sequence[str]) -> dict[str, Video]:
        """Return what the catalogue knows of these videos, without those deleted since."""
        return self._catalogue.videos.among(video_ids)

    def load(self, manifest: Manifest, spec: EmbeddingSpec) -> int:
        """Bring an index up to date and count its videos."""
        return len(self._get(manifest, spec).stored.current(None).index)

    def unreadable(self, manifest: Manifest, spec: EmbeddingSpec) -> frozenset[str]:
        """The videos whose vector files are missing or damaged, so that no search finds them."""
        snapshot = self._get(manifest, spec).stored.current(None)
        return frozenset(snapshot.state.unreadable)

    def verify_next(self, manifest: Manifest, spec: EmbeddingSpec) -> None:
        """Check a part of an index against its checksums, each time the next one."""
        self._get(manifest, spec).stored.verify_next()

    def report_unreadable(self, searched: Collection[EmbeddingSpec]) -> None:
        """Report missing or damaged vector files, each once; the worker rebuilds them.

        searched: the specs that searches use; their videos are not ready until then.
        """
        with self._lock:
            stored = [loaded.stored for loaded in self._loaded.values()]
        for index in stored:
            paths = {*index.unreadable.values()} - self._reported
            for path in paths:
                is_searched = index.spec in searched
                self._catalogue.vector_files.report_unreadable(path, searched=is_searched)
            self._reported |= paths

    def retain(self, specs: Collection[EmbeddingSpec]) -> None:
        """Drop every other index once no search can still use it."""
        with self._lock:
            self._loaded = {
                key: loaded
                for key, loaded in self._loaded.items()
                if key[0] in specs or time.monotonic() - loaded.stored.used < IDLE_SECONDS
            }

    def _current(self, manifest: Manifest, spec: EmbeddingSpec) -> IndexSnapshot:
        return self._get(manifest, spec).stored.current(self._patience_seconds)

    def _get(self, manifest: Manifest, spec: EmbeddingSpec) -> "LoadedIndex":
        unit = manifest.profile.index_unit
        with self._lock:
            if (spec, unit) not in self._loaded:
                stored = StoredIndex(
                    index_folder(self._folder, spec, unit),
                    Index(spec, manifest.dim, unit),
                    self._catalogue,
                    self._media,
                )
                self._loaded[spec, unit] = LoadedIndex(stored)
            return self._loaded[spec, unit]


class LoadedIndex:
    """A stored index, and which of its videos the latest filters select."""

    def __init__(self, stored: StoredIndex) -> None:
        self.stored = stored
        self._lock = threading.Lock()
        self._number: int | None = None
        self._videos: dict[str, Video] = {}
        self._masks: OrderedDict[str, Bool] = OrderedDict()

    def mask(self, snapshot: IndexSnapshot, chosen_by: Filter, catalogue: Catalogue) -> Bool:
        """Return which videos of a snapshot a filter selects, bool [V]."""
        key = f"{snapshot.state.number} {chosen_by.model_dump_json()}"
        with self._lock:
            if key not in self._masks:
                self._masks[key] = self._matches(snapshot, chosen_by, catalogue)
            self._masks.move_to_end(key)
            while len(self._masks) > CACHED_FILTERS:
                self._masks.popitem(last=False)
            return self._masks[key]

    def _matches(self, snapshot: IndexSnapshot, chosen_by: Filter, catalogue: Catalogue) -> Bool:
        """Titles and metadata are read from the catalogue at the first filter, then followed."""
        if self._number != snapshot.state.number:
            changes = catalogue.changes.since(snapshot.index.spec, self._number)
            if changes.complete:
                self._videos.clear()
            for video_id in changes.gone:
                self._videos.pop(video_id, None)
            self._videos.update(changes.videos)
            self._number = changes.number
        ids = snapshot.index.ids
        known = [i for i, video_id in enumerate(ids) if video_id in self._videos]
        mask = np.zeros(len(ids), np.bool_)
        mask[known] = chosen_by.matches([self._videos[ids[i]] for i in known])
        return mask
