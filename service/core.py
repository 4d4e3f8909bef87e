"""Everything one service process shares, opened once: every transport stands on this."""

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import structlog

from qasir.errors import QasirError
from qasir.triton import Triton
from service import metrics
from service.connect import (
    find_active_model,
    open_triton,
    open_triton_control,
    open_uploads,
)
from service.engine.canary import Canary
from service.engine.follower import Follower
from service.engine.generations import Generations
from service.engine.jobs import Jobs
from service.engine.library import Library
from service.engine.search import SearchEngine
from service.engine.uploads import Uploads
from service.engine.videos import Videos
from service.readings import readings
from service.settings import Settings
from service.store.active_model import FindActiveModel
from service.store.catalogue import Catalogue
from service.store.media import MediaStore
from service.store.models import ModelStore
from service.store.presence import Presence
from service.store.windows import WindowStore
from service.telemetry import Reading, Telemetry
from service.turns import Turns

# A probe a second and process is what Triton sees, however many ask for readiness.
READY_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True)
class Core:
    """The parts of a service process, without any transport."""

    settings: Settings
    catalogue: Catalogue
    videos: Videos
    jobs: Jobs
    uploads: Uploads
    engine: SearchEngine
    generations: Generations
    follower: Follower
    triton: Triton
    active_model: FindActiveModel
    telemetry: Telemetry
    readiness: "Readiness"
    canary: Turns

    def readings(self) -> Iterator[Reading]:
        """The gauges of the metrics page, as of now."""
        return readings(self.settings, self.catalogue, self.active_model, self.generations)

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


def open_core(settings: Settings) -> Core:
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
    presence = Presence(folders.searching)
    follower = Follower(store, engine, open_triton_control(settings), presence)
    windows = WindowStore(folders, settings.disk_reserve_bytes)
    canary = Canary(settings, catalogue, windows, library, engine, triton, active)
    videos = Videos(settings, catalogue, media, jobs)
    return Core(
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
        canary=Turns(canary, folders.run, settings.canary_seconds),
    )
