"""The model that is active now, as service and worker use it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qasir.manifest import Manifest


@dataclass(frozen=True)
class ActiveModel:
    """A Triton version, its manifest, and the folder of its tokenizer."""

    version: int
    manifest: Manifest
    tokenizer: Path


# Asked before every search and every job, so that an activation counts at once.
FindActiveModel = Callable[[], ActiveModel]
