"""The indexes that a process searches, brought up to date from the catalogue before each search.

A vector file never changes and its name is never used twice, so a process only reads what is new
since the last change number it has seen. Every process does this for itself, so all of them give
the same answers.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import compress

import structlog

from qasir.config import IndexUnit
from qasir.errors import CorruptArtifact, Overloaded
from qasir.filters import Filter
from qasir.index import Index
from qasir.manifest import EmbeddingSpec, Manifest
from qasir.search import RankedVideos, recall
from qasir.types import Bool, Float32
from qasir.vectors import VideoVectors, read_vectors
from service.catalogue.catalogue import Catalogue
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Video
from service.storage.media import MediaStore

# The pages of one search, and the same search by many people, have the same filter.
CACHED_FILTERS = 32
# Longer than any search: one that began before an activation may still need the old index.
IDLE_SECONDS = 30.0

log = structlog.get_logger()


@dataclass(frozen=True)
class IndexedVideo:
    """A video of the catalogue, and its vectors."""

    video: Video
    vectors: VideoVectors


@dataclass(frozen=True)
class RecallResult:
    """One query's ranking of what was searched, with the best `videos` by id, best first.

    video_count, seconds: what was searched; with a filter, what it selects.
    """

    ranked: RankedVideos
    videos: Mapping[str, IndexedVideo]
    video_count: int
    seconds: float
    change_number: int


@dataclass(frozen=True)
class Nearest:
    """How similar Q vectors are to the most similar embedding of each video.

    similarities: cosines float32 [Q, V], videos in the order of `ids`; vectors: of the videos that
    were asked for.
    """

    ids: list[str]
    similarities: Float32
    vectors: dict[str, VideoVectors]


class IndexCache:
    """Indexes by spec, each with its own lock; safe to share by threads.

    So a search waits only for the index that it reads, and not for one that is being loaded.
    """

    def __init__(self, catalogue: Catalogue, media: MediaStore, patience_seconds: float) -> None:
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
        """Rank the videos that a filter selects for a unit query [D]; `count` of them with vectors.

        Raises:
            Overloaded: the index is being loaded and takes longer than a search may.
        """
        with self._current(manifest, spec) as loaded:
            tau = manifest.branches[spec.grid_size].tau(loaded.index.unit)
            mask = None if chosen_by is None else loaded.mask(chosen_by)
            ranked = recall(loaded.index, query, tau, mask)
            return RecallResult(
                ranked=ranked,
                videos={video_id: loaded.get(video_id) for video_id in ranked.ids[:count]},
                video_count=len(ranked.ids),
                seconds=loaded.seconds(mask),
                change_number=loaded.relevant,
            )

    def nearest(
        self, manifest: Manifest, spec: EmbeddingSpec, vectors: Float32, ids: Sequence[str]
    ) -> Nearest:
        """Compare unit vectors [Q, D] with every embedding; read the vectors of the videos `ids`.

        Raises:
            Overloaded: as `search`.
        """
        with self._current(manifest, spec) as loaded:
            indexed, similarities = loaded.index.scores(vectors, 1.0, "max")
            read = {video_id: loaded.index.get(video_id) for video_id in {*ids} & {*indexed}}
            return Nearest(indexed, similarities, read)

    def get(self, manifest: Manifest, spec: EmbeddingSpec, video_id: str) -> IndexedVideo:
        """Return one indexed video.

        Raises:
            NotFound: it is not indexed.
            Overloaded: as `search`.
        """
        with self._current(manifest, spec) as loaded:
            return loaded.get(video_id)

    def load(self, manifest: Manifest, spec: EmbeddingSpec) -> int:
        """Bring an index up to date and count its videos."""
        with self._current(manifest, spec, patience_seconds=-1) as loaded:
            return len(loaded.index)

    def unreadable(self, manifest: Manifest, spec: EmbeddingSpec) -> frozenset[str]:
        """The videos whose vector files are missing or damaged, so that no search finds them."""
        with self._current(manifest, spec, patience_seconds=-1) as loaded:
            return frozenset(loaded.unreadable)

    def report_unreadable(self, searched: Collection[EmbeddingSpec]) -> None:
        """Report missing or damaged vector files, each once; the worker rebuilds them.

        searched: the specs that searches use; their videos are not ready until then.
        """
        with self._lock:
            # Asked on every tick: an index that can be read is not locked, so no search waits.
            indexes = [loaded for loaded in self._loaded.values() if loaded.unreadable]
        for loaded in indexes:
            with loaded.lock:
                paths = {*loaded.unreadable.values()} - self._reported
            is_searched = loaded.index.spec in searched
            for path in paths:
                self._catalogue.vector_files.report_unreadable(path, searched=is_searched)
            self._reported |= paths

    def retain(self, specs: Collection[EmbeddingSpec]) -> None:
        """Drop every other index once no search can still use it."""
        with self._lock:
            self._loaded = {
                key: loaded
                for key, loaded in self._loaded.items()
                if key[0] in specs or loaded.idle_seconds < IDLE_SECONDS
            }

    @contextmanager
    def _current(
        self, manifest: Manifest, spec: EmbeddingSpec, patience_seconds: float | None = None
    ) -> Iterator["LoadedIndex"]:
        patience = self._patience_seconds if patience_seconds is None else patience_seconds
        loaded = self._get(manifest, spec)
        if not loaded.lock.acquire(timeout=patience):
            raise Overloaded(
                f"the library was busy for {patience:.0f} s; try again, or search less at once"
            )
        try:
            if loaded.change_number != self._catalogue.changes.number():
                loaded.update(self._catalogue, self._media)
            yield loaded
        finally:
            loaded.used = time.monotonic()
            loaded.lock.release()

    def _get(self, manifest: Manifest, spec: EmbeddingSpec) -> "LoadedIndex":
        unit = manifest.profile.index_unit
        with self._lock:
            if (spec, unit) not in self._loaded:
                self._loaded[spec, unit] = LoadedIndex(Index(spec, manifest.dim, unit))
            return self._loaded[spec, unit]


class LoadedIndex:
    """An index and its videos as of one change number; `relevant` is the newest one about them."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.lock = threading.Lock()
        self.used = time.monotonic()
        self.change_number: int | None = None
        self.relevant = 0
        self.unreadable: dict[str, str] = {}
        self._total_seconds = 0.0
        self._videos: dict[str, Video] = {}
        self._seconds: dict[str, float] = {}
        self._paths: dict[str, str] = {}
        self._masks: OrderedDict[str, Bool] = OrderedDict()

    def get(self, video_id: str) -> IndexedVideo:
        vectors = self.index.get(video_id)
        return IndexedVideo(self._videos[video_id], vectors)

    def seconds(self, mask: Bool | None) -> float:
        if mask is None:
            return self._total_seconds
        return sum(self._seconds[video_id] for video_id in compress(self.index.ids, mask))

    def mask(self, chosen_by: Filter) -> Bool:
        """Which videos of the index a filter selects, bool [V]."""
        key = chosen_by.model_dump_json()
        if key not in self._masks:
            self._masks[key] = chosen_by.matches([self._videos[i] for i in self.index.ids])
        self._masks.move_to_end(key)
        while len(self._masks) > CACHED_FILTERS:
            self._masks.popitem(last=False)
        return self._masks[key]

    @property
    def idle_seconds(self) -> float:
        return time.monotonic() - self.used

    def update(self, catalogue: Catalogue, media: MediaStore) -> None:
        changes = catalogue.changes.since(self.index.spec, self.change_number)
        named = {file.video_id for file in changes.files}
        held = self._paths.keys() | self.unreadable.keys()
        for video_id in held - named if changes.complete else changes.gone:
            self._drop(video_id)
        for file in changes.files:
            self._videos[file.video_id] = changes.videos[file.video_id]
            if self._paths.get(file.video_id) != file.path:
                self._put(file, media)
        self.change_number = changes.number
        self.relevant = changes.relevant
        self._total_seconds = sum(self._seconds.values())
        self._masks.clear()

    def _put(self, file: VectorFile, media: MediaStore) -> None:
        try:
            self.index.put(file.video_id, read_vectors(media.vectors(file.path)))
        except CorruptArtifact as error:
            # One unreadable video must not end every search. If it was deleted meanwhile, the next
            # change number says so.
            log.warning("vectors unreadable", video_id=file.video_id, detail=str(error))
            self._drop(file.video_id)
            self.unreadable[file.video_id] = file.path
            return
        self.unreadable.pop(file.video_id, None)
        self._paths[file.video_id] = file.path
        self._seconds[file.video_id] = file.seconds

    def _drop(self, video_id: str) -> None:
        self.index.drop(video_id)
        self.unreadable.pop(video_id, None)
        for by_id in (self._videos, self._seconds, self._paths):
            by_id.pop(video_id, None)
