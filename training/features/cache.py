"""Stores `data/features/<N>`: one feature file per video, resumable, of one model only.

spec.json names what made the features: another spec empties the folder.
encoded.jsonl names the video file behind each feature file: a replaced video is encoded again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from qasir.artifacts import atomic_write
from qasir.errors import CorruptArtifact
from qasir.manifest import EmbeddingSpec
from qasir.vectors import VideoVectors, read_vectors, write_vectors

SPEC_NAME = "spec.json"
JOURNAL_NAME = "encoded.jsonl"
EDGE_BYTES = 1 << 20


class FeatureCache:
    """The features of one spec in a folder."""

    def __init__(self, folder: Path, spec: EmbeddingSpec) -> None:
        self.folder = folder
        self.spec = spec
        self._sources: dict[str, str] = {}
        path, text = folder / SPEC_NAME, spec.model_dump_json(indent=2) + "\n"
        if path.is_file() and path.read_text() == text:
            self._sources = _read_journal(folder / JOURNAL_NAME)
        else:
            folder.mkdir(parents=True, exist_ok=True)
            for old in folder.iterdir():
                old.unlink()
            with atomic_write(path) as file:
                file.write(text.encode())
        # Drops a line that was cut short, which would swallow the next one appended.
        self._write_journal()

    def holds(self, video_id: str, source: Path) -> bool:
        """Returns whether exactly this video file is already encoded."""
        digest = self._sources.get(video_id)
        return digest == source_digest(source) and self.path(video_id).is_file()

    def add(self, video_id: str, source: Path, video: VideoVectors) -> None:
        """Stores a video's features; after this returns they survive an interruption."""
        write_vectors(video, self.path(video_id))
        self._sources[video_id] = source_digest(source)
        with (self.folder / JOURNAL_NAME).open("a") as journal:
            journal.write(_journal_line(video_id, self._sources[video_id]))

    def finish(self, video_ids: set[str]) -> None:
        """Removes other videos and sorts the journal: equal inputs leave equal folders."""
        self._sources = {i: d for i, d in sorted(self._sources.items()) if i in video_ids}
        for path in self.folder.glob("*.npz"):
            if path.stem not in self._sources:
                path.unlink()
        self._write_journal()

    def path(self, video_id: str) -> Path:
        return self.folder / f"{video_id}.npz"

    def _write_journal(self) -> None:
        with atomic_write(self.folder / JOURNAL_NAME) as journal:
            for video_id, digest in self._sources.items():
                journal.write(_journal_line(video_id, digest).encode())


def _read_journal(path: Path) -> dict[str, str]:
    sources: dict[str, str] = {}
    with suppress(ValueError):  # the line that an interruption cut short
        for line in path.read_text().splitlines() if path.is_file() else []:
            row = json.loads(line)
            sources[row["video_id"]] = row["source"]
    return sources


def _journal_line(video_id: str, digest: str) -> str:
    return json.dumps({"video_id": video_id, "source": digest}) + "\n"


def read_cache(folder: Path, video_ids: Iterable[str]) -> Iterator[tuple[str, VideoVectors]]:
    """Yields ids and features of the videos that a finished cache holds, one at a time."""
    for video_id in video_ids:
        path = folder / f"{video_id}.npz"
        if path.is_file():
            yield video_id, read_features(path)


def read_features(path: Path) -> VideoVectors:
    """Reads one feature file.

    Raises:
        CorruptArtifact: the file is missing, cut short or holds something else.
    """
    try:
        return read_vectors(path)
    except CorruptArtifact as error:
        raise CorruptArtifact(
            f"{path} is no feature file: {error.__cause__}; remove it, then run `dvc repro encode`"
        ) from error


def source_digest(path: Path) -> str:
    """Identifies a video file by its size and both ends, without reading all of it."""
    size = path.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with path.open("rb") as file:
        digest.update(file.read(EDGE_BYTES))
        file.seek(max(0, size - EDGE_BYTES))
        digest.update(file.read(EDGE_BYTES))
    return digest.hexdigest()[:16]
