"""What only the catalogue knows of a video, written beside its bytes: `media/<id>/video.json`.

The row is the truth, and the sidecar is a copy that survives the catalogue. It is written after
the row, so a folder with a sidecar holds a video that was acknowledged once.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from qasir.artifacts import atomic_write
from service.catalogue.videos import Video
from service.folders import StateFolders

NAME = "video.json"


class Sidecar(BaseModel):
    """The part of a video that follows neither from its bytes nor from its vectors."""

    model_config = ConfigDict(frozen=True)

    title: str
    metadata: dict[str, Any]
    created_at: float


def write(folders: StateFolders, video: Video) -> bool:
    """Write a video's sidecar where it differs; whether it did. Without media there is none."""
    folder = folders.media / video.id
    sidecar = Sidecar(title=video.title, metadata=dict(video.metadata), created_at=video.created_at)
    if not folder.is_dir() or read(folder) == sidecar:
        return False
    with atomic_write(folder / NAME) as file:
        file.write(sidecar.model_dump_json().encode())
    return True


def write_all(folders: StateFolders, videos: Iterable[Video]) -> int:
    """Write what a crash kept from being written; how many sidecars that were."""
    return sum(write(folders, video) for video in videos)


def read(folder: Path) -> Sidecar | None:
    """The sidecar of a video's media folder; None where it is missing or unreadable."""
    try:
        return Sidecar.model_validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError):
        return None
