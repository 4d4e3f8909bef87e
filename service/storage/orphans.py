"""Files that no catalogue row names: set aside for days, and only then removed.

    orphans/<date>/media/<video>/…      as they lay under the state folder
                   vectors/<video>/…

A catalogue that was restored from a backup does not know newer videos. Their files wait here, and
`qasir repair` brings them back.
"""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import structlog

from service.folders import StateFolders

# The date, and a number where a day has more than one batch.
BATCH_NAME = re.compile(r"(\d{4}-\d{2}-\d{2})(?:\.\d+)?")

log = structlog.get_logger()


def utc_today() -> date:
    """Today's date in UTC."""
    return datetime.now(UTC).date()


@dataclass(frozen=True)
class OrphanBatch:
    """What one sweep has set aside; `paths` are relative to `folder`."""

    folder: Path
    paths: tuple[Path, ...]


class OrphanFolder:
    """The folder `orphans/`, for the holder of the worker lock."""

    def __init__(
        self, folders: StateFolders, keep_days: int, today: Callable[[], date] = utc_today
    ) -> None:
        self._folders = folders
        self._keep_days = keep_days
        self._today = today

    def set_aside(self, paths: Sequence[Path]) -> OrphanBatch:
        """Move files and folders of the state folder into a new batch."""
        root = self._folders.root
        batch = OrphanBatch(self._new_batch(), tuple(path.relative_to(root) for path in paths))
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
                removed_after_days=self._keep_days,
                remedy="`qasir repair` brings them back",
            )
        return batch

    def expire(self) -> int:
        """Remove batches older than the days they are kept; how many there were."""
        expired = [
            folder
            for folder, day in self._batches()
            if (self._today() - day).days > self._keep_days
        ]
        for folder in expired:
            log.warning("orphans removed", folder=str(folder), kept_days=self._keep_days)
            shutil.rmtree(folder, ignore_errors=True)
        return len(expired)

    def _batches(self) -> Iterator[tuple[Path, date]]:
        for folder in self._folders.orphans.glob("*"):
            if matched := BATCH_NAME.fullmatch(folder.name):
                yield folder, date.fromisoformat(matched[1])

    def _new_batch(self) -> Path:
        folder = self._folders.orphans / self._today().isoformat()
        number = 0
        while folder.exists():
            number += 1
            folder = folder.with_name(f"{self._today().isoformat()}.{number}")
        return folder
