"""A catalogue's rows and a state folder's files, as uploads and ingests leave them."""

import hashlib
import os
import sqlite3
from dataclasses import replace
from pathlib import Path

import numpy as np

from qasir.manifest import EmbeddingSpec
from qasir.types import VideoInfo
from qasir.vectors import VideoVectors, write_vectors
from service.catalogue.catalogue import Catalogue
from service.catalogue.queue import Claim
from service.catalogue.vector_files import VectorFile
from service.catalogue.videos import Accepted, Video
from service.folders import StateFolders
from service.storage.media import MediaStore

SPEC = EmbeddingSpec(fingerprint="f" * 16, grid_size=2, resolution=64, fps=1.0)
OTHER = SPEC.model_copy(update={"resolution": 96})
INFO = VideoInfo(12.5, 64, 48, 10.0, "h264", "mov,mp4", 0)


def video(name: str = "a", created: float = 1.0) -> Video:
    """A queued video `v<name>`."""
    return Video(f"v{name}", name, {"k": [1]}, name * 64, 9, 0.0, 0, 0, "", "", "queued", created)


def vectors(video_id: str = "va", path: str = "va/1.npz", spec: EmbeddingSpec = SPEC) -> VectorFile:
    """The row of a vector file."""
    return VectorFile(video_id, **dict(spec), path=path, frames=13, super_images=4, seconds=12.5)


def claimed(catalogue: Catalogue, name: str = "a", owner: str = "me") -> Claim:
    """Accept a video and claim its job."""
    catalogue.videos.accept(video(name))
    claim = catalogue.queue.claim(owner)
    assert claim is not None
    return claim


def upload(catalogue: Catalogue, media: MediaStore, content: bytes, title: str) -> Accepted:
    """Accept bytes as a video."""
    with media.receive() as writer:
        writer.write(content)
        received = writer.finish()
        row = Video(
            received.video_id,
            title,
            {"camera": title},
            hashlib.sha256(content).hexdigest(),
            len(content),
            *(0.0, 0, 0, "", "", "queued"),
            created_at=float(len(content)),
        )
        return media.store(received, lambda: catalogue.videos.accept(row))


def encode_claimed(catalogue: Catalogue, media: MediaStore, spec: EmbeddingSpec = SPEC) -> Path:
    """Claim the next job and commit a real vector file for it; the file."""
    claim = catalogue.queue.claim("me")
    assert claim is not None
    video_id = claim.job.video_id
    path = f"{video_id}/{spec.fingerprint}-n{spec.grid_size}.npz"
    file = replace(vectors(video_id, path, spec), seconds=13.0)
    write_vectors(random_vectors(spec), media.vectors(file.path))
    assert catalogue.queue.commit(claim, INFO, [file])
    return media.vectors(file.path)


def six_videos(folders: StateFolders) -> StateFolders:
    """Six videos, three of them encoded, whose catalogue is closed."""
    catalogue, media = Catalogue(folders.catalogue), MediaStore(folders, 1 << 20, 0)
    for number in range(6):
        upload(catalogue, media, bytes([number]) * 9, f"title {number}")
        if number < 3:
            encode_claimed(catalogue, media)
    catalogue.close()
    return folders


def random_vectors(spec: EmbeddingSpec = SPEC, frames: int = 13) -> VideoVectors:
    """Vectors of `frames` frames of one second each, D = 8."""
    cells = spec.grid_size**2
    count = -(-frames // cells)
    rng = np.random.default_rng(frames)
    mask = (np.arange(count * cells) < frames).reshape(count, cells)
    starts = np.arange(count * cells, dtype=np.float64).reshape(count, cells)
    times = np.stack([starts, starts + 1], -1) * mask[..., None]
    embeddings = rng.standard_normal((count, 1 + cells, 8)).astype(np.float16)
    return VideoVectors(spec, embeddings, mask, times)


def files(folder: Path) -> set[str]:
    """Every file below a folder, relative to it."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def lose_catalogue(folders: StateFolders) -> None:
    """Remove the catalogue, as a failed restore does."""
    for path in folders.root.glob("catalogue.sqlite3*"):
        path.unlink()


def empty_catalogue(folders: StateFolders) -> None:
    """Leave a file of no bytes."""
    lose_catalogue(folders)
    folders.catalogue.touch()


def catalogue_without_tables(folders: StateFolders) -> None:
    """Leave a database that holds nothing."""
    lose_catalogue(folders)
    connection = sqlite3.connect(folders.catalogue)
    connection.execute("VACUUM")
    connection.close()


def catalogue_of_another_folder(folders: StateFolders) -> None:
    """Put a new folder's catalogue in its place."""
    lose_catalogue(folders)
    other = folders.root.parent / "other" / "catalogue.sqlite3"
    Catalogue(other).close()
    other.rename(folders.catalogue)


def catalogue_without_rows(folders: StateFolders) -> None:
    """Remove every video's row."""
    connection = sqlite3.connect(folders.catalogue)
    connection.execute("DELETE FROM videos")
    connection.commit()
    connection.close()


def catalogue_of_text(folders: StateFolders) -> None:
    """Put something else in its place."""
    lose_catalogue(folders)
    folders.catalogue.write_text("no database\n" * 1000)


def truncate_catalogue(folders: StateFolders) -> None:
    """Cut it in half."""
    os.truncate(folders.catalogue, folders.catalogue.stat().st_size // 2)


def overwrite_catalogue(folders: StateFolders) -> None:
    """Overwrite all but its first page."""
    size = folders.catalogue.stat().st_size
    with folders.catalogue.open("r+b") as file:
        file.seek(4096)
        file.write(os.urandom(size - 4096))


def drop_a_table(folders: StateFolders) -> None:
    """Remove a table."""
    connection = sqlite3.connect(folders.catalogue)
    connection.execute("DROP TABLE changes")
    connection.close()
