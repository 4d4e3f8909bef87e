"""The folders under `QASIR_STATE`: one name for each place where state lives."""

from pathlib import Path


class StateFolders:
    """Every path of the state folder that more than one module knows."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.catalogue = root / "catalogue.sqlite3"
        self.uploads = root / "uploads"
        self.resumable = self.uploads / "resumable"
        self.media = root / "media"
        self.vectors = root / "vectors"
        self.index = root / "index"
        self.canary = root / "canary"
        self.checkpoints = root / "checkpoints"
        self.orphans = root / "orphans"
        self.models = root / "models"
        self.run = root / "run"
        self.searching = self.run / "searching"
        self.bentoml = root / "bentoml"

    def create(self) -> None:
        """Make the folders that service and worker write to; a new root is its owner's alone."""
        # Uploads are private; an operator who wants to share them changes the mode once.
        self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        written = (
            self.uploads,
            self.media,
            self.vectors,
            self.index,
            self.canary,
            self.checkpoints,
        )
        for folder in (*written, self.run, self.bentoml):
            folder.mkdir(parents=True, exist_ok=True)
