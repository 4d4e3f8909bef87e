"""The index a process searches, brought up to date from the catalogue before each search.

A vector file never changes and its name is never used twice, so a process only reads
what is new since the change number it has seen. Every process does this for itself;
therefore all of them answer alike.
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

# Pages of one search, and the same search by many people, ask by the same filter.
FILTERS_REMEMBERED = 32

# Longer than any search: one that began before an activation may still want the old index.
IDLE_SECONDS = 30.0

log = structlog.get_logger()


@dataclass(frozen=True)
class IndexedVideo:
    """A video as the catalogue has it, and its vectors."""

    video: Video
    vectors: VideoVectors


@dataclass(frozen=True)
class RecallResult:
    """One query's recall, and the videos it is to be answered with, by id, best first.

    `videos` and `seconds` are what was searched: with a filter, what it lets through.
    """

    recalled: RankedVideos
    found: Mapping[str, IndexedVideo]
    videos: int
    seconds: float
    change_number: int


@dataclass(frozen=True)
class Nearest:
    """What Q vectors look like most: each video's most similar unit as a cosine [Q, V], videos
    in the order of `ids`; and the vectors of those videos that were asked about."""

    ids: list[str]
    similarities: Float32
    vectors: dict[str, VideoVectors]


class Library:
    """Indexes by spec, each with a lock of its own; safe to share by threads.

    So one that is being read for the first time keeps nobody waiting who searches another.
    """

    def __init__(self, catalogue: Catalogue, media: MediaStore, patience_seconds: float) -> None:
        self._catalogue = catalogue
        self._media = media
        self._patience_seconds = patience_seconds
        self._lock = threading.Lock()
        self._shelves: dict[tuple[EmbeddingSpec, IndexUnit], LoadedIndex] = {}

    def search(
        self,
        manifest: Manifest,
        spec: EmbeddingSpec,
        query: Float32,
        want: int,
        chosen_by: Filter | None = None,
    ) -> RecallResult:
        """Rank the library as of now for a unit query [D], or what a filter lets through of it;
        with the best `want` videos.

        Raises:
            Overloaded: the library is being loaded and takes longer than a search may.
        """
        with self._current(manifest, spec) as shelf:
            tau = manifest.branches[spec.grid_size].tau(shelf.index.unit)
            chosen = None if chosen_by is None else shelf.chosen(chosen_by)
            recalled = recall(shelf.index, query, tau, chosen)
            return RecallResult(
                recalled=recalled,
                found={video_id: shelf.found(video_id) for video_id in recalled.ids[:want]},
                videos=len(recalled.ids),
                seconds=shelf.seconds(chosen),
                change_number=shelf.relevant,
            )

    def nearest(
        self, manifest: Manifest, spec: EmbeddingSpec, vectors: Float32, ids: Sequence[str]
    ) -> Nearest:
        """Compare unit vectors [Q, D] with every unit as of now; vectors of the videos `ids`.

        Raises:
            Overloaded: as `search`.
        """
        with self._current(manifest, spec) as shelf:
            known, similarities = shelf.index.scores(vectors, 1.0, "max")
            asked = {video_id: shelf.index.get(video_id) for video_id in {*ids} & {*known}}
            return Nearest(known, similarities, asked)

    def get(self, manifest: Manifest, spec: EmbeddingSpec, video_id: str) -> IndexedVideo:
        """One indexed video as of now.

        Raises:
            NotFound: it is not indexed.
            Overloaded: as `search`.
        """
        with self._current(manifest, spec) as shelf:
            return shelf.found(video_id)

    def load(self, manifest: Manifest, spec: EmbeddingSpec) -> int:
        """Bring the index up to date; how many videos it holds."""
        with self._current(manifest, spec, patience_seconds=-1) as shelf:
            return len(shelf.index)

    def unreadable(self, manifest: Manifest, spec: EmbeddingSpec) -> frozenset[str]:
        """The videos whose vector files are missing or damaged, so that no search finds them."""
        with self._current(manifest, spec, patience_seconds=-1) as shelf:
            return frozenset(shelf.unreadable)

    def keep(self, wanted: Collection[EmbeddingSpec]) -> None:
        """Let go of every index that is not wanted, once no search can still be using it."""
        with self._lock:
            self._shelves = {
                known: shelf
                for known, shelf in self._shelves.items()
                if known[0] in wanted or shelf.idle_seconds < IDLE_SECONDS
            }

    @contextmanager
    def _current(
        self, manifest: Manifest, spec: EmbeddingSpec, patience_seconds: float | None = None
    ) -> Iterator["LoadedIndex"]:
        patience = self._patience_seconds if patience_seconds is None else patience_seconds
        shelf = self._shelf(manifest, spec)
        if not shelf.lock.acquire(timeout=patience):
            raise Overloaded(
                f"the library was busy for {patience:.0f} s; try again, or search less at once"
            )
        try:
            if shelf.number != self._catalogue.changes.number():
                shelf.follow(self._catalogue, self._media)
            yield shelf
        finally:
            shelf.used = time.monotonic()
            shelf.lock.release()

    def _shelf(self, manifest: Manifest, spec: EmbeddingSpec) -> "LoadedIndex":
        unit = manifest.profile.index_unit
        with self._lock:
            if (spec, unit) not in self._shelves:
                self._shelves[spec, unit] = LoadedIndex(Index(spec, manifest.dim, unit))
            return self._shelves[spec, unit]


class LoadedIndex:
    """An index and its videos, with the change number they are as of, and the newest that is
    about them."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.lock = threading.Lock()
        self.used = time.monotonic()
        self.number: int | None = None
        self.relevant = 0
        self.unreadable: set[str] = set()
        self._total_seconds = 0.0
        self._videos: dict[str, Video] = {}
        self._seconds: dict[str, float] = {}
        self._paths: dict[str, str] = {}
        self._chosen: OrderedDict[str, Bool] = OrderedDict()

    def found(self, video_id: str) -> IndexedVideo:
        vectors = self.index.get(video_id)
        return IndexedVideo(self._videos[video_id], vectors)

    def seconds(self, chosen: Bool | None) -> float:
        if chosen is None:
            return self._total_seconds
        return sum(self._seconds[video_id] for video_id in compress(self.index.ids, chosen))

    def chosen(self, by: Filter) -> Bool:
        """Which of the index's videos a filter lets through, bool [V]."""
        key = by.model_dump_json()
        if key not in self._chosen:
            self._chosen[key] = by.matches([self._videos[i] for i in self.index.ids])
        self._chosen.move_to_end(key)
        while len(self._chosen) > FILTERS_REMEMBERED:
            self._chosen.popitem(last=False)
        return self._chosen[key]

    @property
    def idle_seconds(self) -> float:
        return time.monotonic() - self.used

    def follow(self, catalogue: Catalogue, media: MediaStore) -> None:
        changes = catalogue.changes.since(self.index.spec, self.number)
        named = {file.video_id for file in changes.files}
        held = self._paths.keys() | self.unreadable
        gone = held - named if changes.complete else changes.gone
        for video_id in gone:
            self._drop(video_id)
        for file in changes.files:
            self._videos[file.video_id] = changes.videos[file.video_id]
            if self._paths.get(file.video_id) != file.path:
                self._put(file, media)
        self.number = changes.number
        self.relevant = changes.relevant
        self._total_seconds = sum(self._seconds.values())
        self._chosen.clear()

    def _put(self, file: VectorFile, media: MediaStore) -> None:
        try:
            self.index.put(file.video_id, read_vectors(media.vectors(file.path)))
        except CorruptArtifact as error:
            # One unreadable video must not end every search. If it was deleted meanwhile,
            # the next change number says so.
            log.warning("vectors unreadable", video_id=file.video_id, detail=str(error))
            self._drop(file.video_id)
            self.unreadable.add(file.video_id)
            return
        self.unreadable.discard(file.video_id)
        self._paths[file.video_id] = file.path
        self._seconds[file.video_id] = file.seconds

    def _drop(self, video_id: str) -> None:
        self.index.drop(video_id)
        self.unreadable.discard(video_id)
        for known in (self._videos, self._seconds, self._paths):
            known.pop(video_id, None)
