"""Everything one service process shares, opened once: every transport stands on this."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from qasir.errors import QasirError
from qasir.triton import Triton
from service.canary.checks import Canary
from service.canary.scheduler import CanaryScheduler
from service.canary.windows import WindowStore
from service.catalogue.catalogue import Catalogue
from service.factories import (
    find_active_model,
    open_triton,
    open_triton_control,
    open_uploads,
)
from service.gauges import gauges
from service.library.jobs import Jobs
from service.library.uploads import Uploads
from service.library.videos import Videos
from service.models.active_model import FindActiveModel
from service.models.heartbeats import Heartbeats
from service.models.reconciler import ModelReconciler
from service.models.rollout import Generations
from service.models.store import ModelStore
from service.observability import metrics
from service.observability.telemetry import GaugeSample, Telemetry
from service.search.engine import SearchEngine
from service.search.index_cache import Library
from service.settings import Settings
from service.storage.media import MediaStore

# A probe a second and process is what Triton sees, however many ask for readiness.
READY_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True)
class AppState:
    """The parts of a service process, without any transport."""

    settings: Settings
    catalogue: Catalogue
    videos: Videos
    jobs: Jobs
    uploads: Uploads
    engine: SearchEngine
    generations: Generations
    follower: ModelReconciler
    triton: Triton
    active_model: FindActiveModel
    telemetry: Telemetry
    readiness: "Readiness"
    canary: CanaryScheduler

    def gauges(self) -> Iterator[GaugeSample]:
        """The gauges of the metrics page, as of now."""
        return gauges(self.settings, self.catalogue, self.active_model, self.generations)

    def close(self) -> None:
        """Give connections and file handles back."""
        self.follower.close()
        self.canary.stop()
        self.triton.close()
        self.catalogue.close()


class Readiness:
    """Whether searches can be answered: a model is active, indexed, and loaded in Triton.

    `withdrawn`: this process shall stop; nothing new should be sent to it.
    """

    def __init__(self, engine: SearchEngine, triton: Triton, active: FindActiveModel) -> None:
        self._engine = engine
        self._triton = triton
        self._active = active
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._ready = False
        self._loaded = False
        self.withdrawn = False

    def load(self) -> bool:
        """Read the library into memory; False where no model says which one yet.

        A process does this before it accepts connections: its neighbour, which shares the
        port, serves meanwhile, and nobody's search has to wait for it.
        """
        try:
            if not self._loaded:
                log.info("library loaded", videos=self._engine.load())
                self._loaded = True
        except QasirError as error:
            log.info("library not loaded", code=error.code, detail=str(error))
        return self._loaded

    def withdraw(self) -> None:
        """Not ready from now on, whatever else is true; what runs goes on."""
        self.withdrawn = True

    def check(self) -> bool:
        """The answer of at most a second ago, or a new one."""
        if self.withdrawn:
            return False
        with self._lock:
            if time.monotonic() - self._asked > READY_SECONDS:
                self._ready = self.load() and self._serves()
                self._asked = time.monotonic()
            return self._ready

    def _serves(self) -> bool:
        try:
            return self._triton.ready(self._active().version)
        except QasirError as error:
            log.info("not ready", code=error.code, detail=str(error))
            return False


def open_service(settings: Settings) -> AppState:
    """Open the state folder for serving."""
    folders = settings.folders
    media = MediaStore(folders, settings.max_upload_bytes, settings.disk_reserve_bytes)
    catalogue = Catalogue(folders.catalogue)
    telemetry = Telemetry(metrics.SERVICE_METRICS)
    triton, active = open_triton(settings), find_active_model(settings)
    library = Library(catalogue, media, settings.search_seconds)
    engine = SearchEngine(settings, library, catalogue.encodings, media, triton, active, telemetry)
    readiness = Readiness(engine, triton, active)
    jobs = Jobs(settings, catalogue, stopping=lambda: readiness.withdrawn)
    store = ModelStore(settings.state)
    generations = Generations(settings, catalogue, media, store, triton)
    presence = Heartbeats(folders.searching)
    follower = ModelReconciler(store, engine, open_triton_control(settings), presence)
    windows = WindowStore(folders, settings.disk_reserve_bytes)
    canary = Canary(settings, catalogue, windows, library, engine, triton, active)
    videos = Videos(settings, catalogue, media, jobs)
    return AppState(
        settings=settings,
        catalogue=catalogue,
        videos=videos,
        jobs=jobs,
        uploads=Uploads(open_uploads(settings, media), videos, jobs),
        engine=engine,
        generations=generations,
        follower=follower,
        triton=triton,
        active_model=active,
        telemetry=telemetry,
        readiness=readiness,
        canary=CanaryScheduler(canary, folders.run, settings.canary_seconds),
    )
