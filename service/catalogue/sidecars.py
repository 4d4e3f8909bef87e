"""What only the catalogue knows of a video, written beside its bytes: `media/<id>/video.json`.

The row is the truth, and the sidecar is a copy that survives the catalogue. It is written after
the row, so a folder with a sidecar holds a video that was acknowledged once.
"""

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from qasir.artifacts import atomic_write

NAME = "video.json"


class Sidecar(BaseModel):
    """The part of a video that follows neither from its bytes nor from its vectors."""

    model_config = ConfigDict(frozen=True)

    title: str
    metadata: dict[str, Any]
    created_at: float


def write(folder: Path, sidecar: Sidecar) -> bool:
    """Write the sidecar of a video's media folder where it differs; whether it did.

    A video without a media folder gets none.
    """
    if not folder.is_dir() or read(folder) == sidecar:
        return False
    with atomic_write(folder / NAME) as file:
        file.write(sidecar.model_dump_json().encode())
    return True


def read(folder: Path) -> Sidecar | None:
    """The sidecar of a video's media folder; None where it is missing or unreadable."""
    try:
        return Sidecar.model_validate_json((folder / NAME).read_bytes())
    except (OSError, ValidationError):
        return None
