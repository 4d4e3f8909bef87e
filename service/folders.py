"""The folders under `QASIR_STATE`: one name for each place where state lives."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class StateFolders:
    """Every path of the state folder that more than one module knows."""

    root: Path

    @property
    def catalogue(self) -> Path:
        return self.root / "catalogue.sqlite3"

    @property
    def uploads(self) -> Path:
        return self.root / "uploads"

    @property
    def media(self) -> Path:
        return self.root / "media"

    @property
    def vectors(self) -> Path:
        return self.root / "vectors"

    @property
    def canary(self) -> Path:
        return self.root / "canary"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def orphans(self) -> Path:
        return self.root / "orphans"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def run(self) -> Path:
        return self.root / "run"

    @property
    def searching(self) -> Path:
        return self.run / "searching"

    @property
    def bentoml(self) -> Path:
        return self.root / "bentoml"

    def create(self) -> None:
        """Make the folders that service and worker write to; a new root is its owner's alone."""
        # Uploads are nobody else's to read; who wants to share them can say so, once.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for folder in (
            self.uploads,
            self.media,
            self.vectors,
            self.canary,
            self.checkpoints,
            self.run,
            self.bentoml,
        ):
            folder.mkdir(parents=True, exist_ok=True)
