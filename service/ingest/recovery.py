"""What a worker does before its first job: it takes over from one that died."""

import structlog

from qasir.errors import CorruptArtifact, QasirError
from service.catalogue.catalogue import Catalogue
from service.models.deployment import FindActive
from service.settings import IngestSettings
from service.storage import checkpoints
from service.storage.media import MediaStore
from service.storage.orphans import OrphanFolder

log = structlog.get_logger()


def recover(
    settings: IngestSettings, catalogue: Catalogue, media: MediaStore, find_active: FindActive
) -> None:
    """Queue abandoned jobs again, set files aside that no row names, and drop rows whose file is
    damaged or missing; only for the holder of the worker lock.

    Raises:
        CorruptArtifact: the catalogue names videos, but media and vectors are empty.
    """
    folders = settings.folders
    count = catalogue.videos.count()
    if count and not any(folders.media.iterdir()) and not any(folders.vectors.iterdir()):
        raise CorruptArtifact(
            f"catalogue {folders.catalogue} names {count} videos, but "
            f"{folders.media} and {folders.vectors} are empty; check QASIR_STATE and its mounts"
        )
    abandoned = catalogue.queue.requeue_abandoned()
    orphans = OrphanFolder(folders, settings.orphan_days)
    swept = media.sweep(catalogue.videos.ids, catalogue.vector_files.all, orphans)
    catalogue.videos.write_sidecars()
    checkpoints.sweep(folders)
    orphans.expire()
    log.info(
        "recovered",
        jobs=len(abandoned),
        uploads=swept.uploads,
        orphans=len(swept.orphans.paths),
        unreadable=_report_unreadable(catalogue, find_active),
    )


def _report_unreadable(catalogue: Catalogue, find_active: FindActive) -> int:
    """Report vector files that are no archives any more; whole ones are read by the searchers."""
    try:
        active = find_active().manifest.specs
    except QasirError:
        active = ()
    return sum(
        catalogue.vector_files.report_unreadable(file.path, searched=file.spec in active)
        for file in catalogue.vector_files.all()
        if not catalogue.vector_files.looks_whole(file)
    )
