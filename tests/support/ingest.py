"""A worker on a state folder of a test, with models and an encoder that the test chooses."""

import threading
from collections.abc import Callable, Sequence

from service.canary.windows import WindowStore
from service.catalogue.backfills import Target
from service.catalogue.catalogue import Catalogue
from service.ingest.encode import Encoder, EncodingTriton
from service.ingest.targets import WorkerModels
from service.ingest.worker import Worker
from service.models.deployment import ModelVersion
from service.observability.telemetry import Telemetry
from service.settings import IngestSettings
from service.storage.media import MediaStore


class FixedModels(WorkerModels):
    """One active model, and targets that are always served."""

    def __init__(self, active: Callable[[], ModelVersion], targets: Sequence[Target] = ()) -> None:
        self._find_active = active
        self._fixed = tuple(targets)

    def active(self) -> ModelVersion:
        return self._find_active()

    def get(self, version: int) -> ModelVersion:
        assert self.is_served(version)
        return self.active()

    def targets(self) -> tuple[Target, ...]:
        return self._fixed

    def is_served(self, version: int) -> bool:
        return version > 0

    def activate_pending(self) -> bool:
        return False


def open_worker(
    settings: IngestSettings,
    catalogue: Catalogue,
    triton: EncodingTriton,
    models: WorkerModels,
    telemetry: Telemetry,
    stop: threading.Event,
) -> Worker:
    """A worker as a process that has just started has it."""
    media = MediaStore(settings.folders, 1 << 30, 0)
    windows = WindowStore(settings.folders, 0)
    encoder = Encoder(settings, media, triton, windows, telemetry, stop)
    return Worker(settings, catalogue, encoder, models, telemetry, stop)
