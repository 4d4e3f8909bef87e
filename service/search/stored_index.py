"""One index on disk, brought up to date from the catalogue and shared by all processes.

    index/<spec>-<unit>/index.json      which segments belong to which change number
    index/<spec>-<unit>/<segment>/      memory-mapped arrays; immutable

It is made of the vector files and can be made again: whoever sees that it is behind the catalogue
adds what is new under a file lock, and the others only map it. A segment that cannot be read is
replaced by a whole new index.
"""

import shutil
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from pydantic import Field, ValidationError

from qasir.artifacts import atomic_write
from qasir.config import IndexUnit, Strict
from qasir.errors import CorruptArtifact, Overloaded
from qasir.index import Index
from qasir.manifest import EmbeddingSpec
from qasir.segments import Part, SegmentVideo, load, save, verify
from qasir.vectors import read_vectors
from service.catalogue.catalogue import Catalogue
from service.catalogue.vector_files import VectorFile
from service.lock import locked_within
from service.storage.media import MediaStore

FORMAT = 1
STATE_NAME = "index.json"
# Bounds the memory of a bulk load: about 200 MB at D = 512 and N = 2.
BATCH_SUPER_IMAGES = 1 << 15

log = structlog.get_logger()


class StoredSegment(Strict):
    """A segment's folder, and the positions of its videos that are gone."""

    name: str
    deleted: list[int] = Field(default_factory=list)


class IndexState(Strict):
    """What index.json says; `relevant` is the newest change about a video of this index.

    unreadable: path of the vector file by video id.
    """

    format: int = FORMAT
    number: int | None = None
    relevant: int = 0
    segments: list[StoredSegment] = Field(default_factory=list)
    unreadable: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class IndexSnapshot:
    """An index as of one change number."""

    index: Index
    state: IndexState


class StoredIndex:
    """The index of one spec and unit in a folder; safe to share by threads."""

    def __init__(self, folder: Path, empty: Index, catalogue: Catalogue, media: MediaStore) -> None:
        self._folder = folder
        self._empty = empty
        self._catalogue = catalogue
        self._media = media
        self._lock = threading.Lock()
        self._snapshot: IndexSnapshot | None = None
        self._verified = 0
        self.used = time.monotonic()

    @property
    def spec(self) -> EmbeddingSpec:
        return self._empty.spec

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Paths of vector files that could not be read, by video id."""
        return {} if self._snapshot is None else self._snapshot.state.unreadable

    def current(self, patience_seconds: float | None) -> IndexSnapshot:
        """Return the snapshot of the newest change; None waits without a limit.

        Raises:
            Overloaded: the index is being built and takes longer than `patience_seconds`.
        """
        self.used = time.monotonic()
        number = self._catalogue.changes.number()
        snapshot = self._snapshot
        if snapshot is not None and snapshot.state.number == number:
            return snapshot
        with self._locked(patience_seconds):
            if self._snapshot is None or self._snapshot.state.number != number:
                self._snapshot = self._update(number)
            return self._snapshot

    def verify_next(self) -> None:
        """Check the embeddings of one segment, each time the next one.

        If they are damaged, the index is dropped and built again from the vector files.
        """
        parts = self.current(None).index.parts
        if not parts:
            return
        self._verified += 1
        try:
            verify(parts[self._verified % len(parts)].segment)
        except (CorruptArtifact, OSError) as error:
            log.warning("index damaged, building it again", detail=str(error))
            with self._locked(None):
                (self._folder / STATE_NAME).unlink(missing_ok=True)
                self._snapshot = None

    @contextmanager
    def _locked(self, patience_seconds: float | None) -> Iterator[None]:
        """Hold this index among the threads of this process, and among processes."""
        patience = -1 if patience_seconds is None else patience_seconds
        if not self._lock.acquire(timeout=patience):
            raise _busy(patience)
        try:
            with locked_within(self._folder.with_suffix(".lock"), patience_seconds) as is_held:
                if not is_held:
                    raise _busy(patience)
                yield
        finally:
            self._lock.release()

    def _update(self, number: int) -> IndexSnapshot:
        snapshot = self._load()
        since = snapshot.state.number
        if self._snapshot is None and not self._agrees(snapshot.index):
            # The catalogue is another one, a restored one, or a file could not be read.
            since = None
        elif since is not None and since >= number:
            return snapshot
        changes = self._catalogue.changes.since(self.spec, since)
        unreadable = dict(snapshot.state.unreadable)
        named = {file.video_id for file in changes.files}
        gone = changes.gone if not changes.complete else {*snapshot.index.ids, *unreadable} - named
        index = self._saved(snapshot.index.without(gone))
        for video_id in gone:
            unreadable.pop(video_id, None)
        files = {file.video_id: file for file in changes.files}
        files |= self._catalogue.vector_files.of_spec(self.spec, [*unreadable])
        new = [f for f in files.values() if index.source(f.video_id) != self._signature(f.path)]
        for batch in _batches(new):
            videos = [video for file in batch if (video := self._read(file, unreadable))]
            index = self._saved(index.without(f.video_id for f in batch).with_videos(videos))
        state = IndexState(
            number=changes.number,
            relevant=changes.relevant,
            segments=[_stored(part) for part in index.parts],
            unreadable=unreadable,
        )
        self._write(state)
        return IndexSnapshot(index, state)

    def _agrees(self, index: Index) -> bool:
        """Whether an index holds what the catalogue names, read from the files as they are."""
        paths = self._catalogue.vector_files.paths(self.spec)
        return index.sources == {i: self._signature(path) for i, path in paths.items()}

    def _signature(self, path: str) -> str:
        """Name a vector file and its state; another one when somebody has changed it on disk."""
        try:
            state = self._media.vectors(path).stat()
        except OSError as error:
            return f"{path} {error.errno}"
        return f"{path} {state.st_size} {state.st_mtime_ns}"

    def _read(self, file: VectorFile, unreadable: dict[str, str]) -> SegmentVideo | None:
        try:
            vectors = read_vectors(self._media.vectors(file.path))
        except CorruptArtifact as error:
            # One unreadable video must not end every search. If it was deleted meanwhile, the next
            # change number says so.
            log.warning("vectors unreadable", video_id=file.video_id, detail=str(error))
            unreadable[file.video_id] = file.path
            return None
        unreadable.pop(file.video_id, None)
        return SegmentVideo(file.video_id, vectors, self._signature(file.path), file.seconds)

    def _saved(self, index: Index) -> Index:
        """Write new segments to disk and map them."""
        parts = [
            part
            if part.segment.folder
            else replace(part, segment=save(part.segment, self._folder / uuid.uuid4().hex))
            for part in index.parts
        ]
        return replace(index, parts=tuple(parts))

    def _write(self, state: IndexState) -> None:
        with atomic_write(self._folder / STATE_NAME) as file:
            file.write(state.model_dump_json().encode())
        # Whoever still searches one of them has mapped it.
        listed = {segment.name for segment in state.segments}
        for folder in self._folder.iterdir():
            if folder.is_dir() and folder.name not in listed:
                shutil.rmtree(folder, ignore_errors=True)

    def _load(self) -> IndexSnapshot:
        """Map what is on disk; an empty index if there is nothing, or nothing readable."""
        try:
            content = (self._folder / STATE_NAME).read_bytes()
            state = IndexState.model_validate_json(content)
            if state.format != FORMAT:
                raise CorruptArtifact(f"{self._folder} has format {state.format}, not {FORMAT}")
            parts = tuple(self._open(segment) for segment in state.segments)
        except FileNotFoundError:
            return IndexSnapshot(self._empty, IndexState())
        except (ValidationError, CorruptArtifact, OSError) as error:
            log.warning("index unreadable, building it again", detail=str(error))
            return IndexSnapshot(self._empty, IndexState())
        return IndexSnapshot(replace(self._empty, parts=parts), state)

    def _open(self, stored: StoredSegment) -> Part:
        known = self._snapshot.index.parts if self._snapshot else ()
        folder = self._folder / stored.name
        segments = [part.segment for part in known if part.segment.folder == folder]
        segment = segments[0] if segments else load(folder)
        kept = np.ones(len(segment), np.bool_)
        kept[stored.deleted] = False
        return Part(segment, kept)


def _stored(part: Part) -> StoredSegment:
    assert part.segment.folder is not None
    deleted = np.flatnonzero(~part.kept).tolist()
    return StoredSegment(name=part.segment.folder.name, deleted=deleted)


def _batches(files: Iterable[VectorFile]) -> Iterator[list[VectorFile]]:
    batch, count = list[VectorFile](), 0
    for file in files:
        batch.append(file)
        count += file.super_images
        if count >= BATCH_SUPER_IMAGES:
            yield batch
            batch, count = [], 0
    if batch:
        yield batch


def _busy(patience_seconds: float) -> Overloaded:
    return Overloaded(
        f"the library was busy for {patience_seconds:.0f} s; try again, or search less at once"
    )


def index_folder(root: Path, spec: EmbeddingSpec, unit: IndexUnit) -> Path:
    """Return where the index of a spec lies."""
    return root / (
        f"{spec.fingerprint}-n{spec.grid_size}-r{spec.resolution}-fps{spec.fps:g}-{unit}"
    )
