"""Vectors of mode hybrid's fine model: those that are made already, from files, remembered."""

import threading
from collections import OrderedDict
from collections.abc import Sequence

import structlog

from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec
from qasir.vectors import VideoVectors, read_vectors
from service.catalogue.vector_files import VectorFiles
from service.storage.media import MediaStore

# The best of some searches: what is asked again soon.
REMEMBERED = 256

log = structlog.get_logger()


class RerankerVectors:
    """Reads what the worker has made; safe to share by threads."""

    def __init__(self, vector_files: VectorFiles, media: MediaStore) -> None:
        self._vector_files = vector_files
        self._media = media
        self._lock = threading.Lock()
        # A file never changes and its name is never used twice.
        self._read: OrderedDict[str, VideoVectors] = OrderedDict()

    def held(self, video_ids: Sequence[str], spec: EmbeddingSpec) -> dict[str, VideoVectors]:
        """Vectors of those videos that have some of this spec, as of now."""
        files = self._vector_files.of_spec(spec, video_ids)
        found = {video_id: self._vectors(file.path) for video_id, file in files.items()}
        return {video_id: vectors for video_id, vectors in found.items() if vectors is not None}

    def _vectors(self, path: str) -> VideoVectors | None:
        with self._lock:
            if path in self._read:
                self._read.move_to_end(path)
                return self._read[path]
        try:
            vectors = read_vectors(self._media.vectors(path))
        except CorruptArtifact as error:
            # Deleted meanwhile, or unreadable: the search goes on without it.
            log.warning("vectors unreadable", detail=str(error))
            return None
        with self._lock:
            self._read[path] = vectors
            while len(self._read) > REMEMBERED:
                self._read.popitem(last=False)
        return vectors
