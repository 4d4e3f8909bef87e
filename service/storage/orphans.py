"""Files that no catalogue row names: set aside for days, and only then removed.

    orphans/<date>/media/<video>/…      as they lay under the state folder
                   vectors/<video>/…

A catalogue that was restored from a backup does not know newer videos. Their files wait here, and
`qasir repair` brings them back.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import structlog

from service.folders import StateFolders

# The date, and a number where a day has more than one batch.
BATCH_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.\d+)?")

log = structlog.get_logger()


def utc_today() -> date:
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class OrphanBatch:
    """What one sweep has set aside; `paths` are relative to `folder`."""

    folder: Path
    paths: tuple[Path, ...]


@dataclass
class OrphanFolder:
    """The folder `orphans/`, for the holder of the worker lock."""

    folders: StateFolders
    keep_days: int
    today: Callable[[], date] = utc_today

    def set_aside(self, paths: Sequence[Path]) -> OrphanBatch:
        """Move files and folders of the state folder into a new batch."""
        root = self.folders.root
        folder = self.folders.orphans / self.today().isoformat()
        number = 0
        while folder.exists():
            number += 1
            folder = folder.with_name(f"{self.today().isoformat()}.{number}")
        batch = OrphanBatch(folder, tuple(path.relative_to(root) for path in paths))
        for path in batch.paths:
            place = batch.folder / path
            place.parent.mkdir(parents=True, exist_ok=True)
            (root / path).rename(place)
        if paths:
            log.warning(
                "orphans set aside",
                folder=str(batch.folder),
                files=len(paths),
                examples=[str(path) for path in batch.paths[:3]],
                removed_after_days=self.keep_days,
                remedy="`qasir repair` brings them back",
            )
        return batch

    def expire(self) -> int:
        """Remove batches older than the days they are kept, and count them."""
        expired = []
        for folder in self.folders.orphans.glob("*"):
            matched = BATCH_NAME.fullmatch(folder.name)
            if matched and (self.today() - date.fromisoformat(matched[1])).days > self.keep_days:
                expired.append(folder)
        for folder in expired:
            log.warning("orphans removed", folder=str(folder), kept_days=self.keep_days)
            shutil.rmtree(folder, ignore_errors=True)
        return len(expired)
