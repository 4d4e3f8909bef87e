"""The composition root of a service process: opens what its transports share."""

import threading
import time
from dataclasses import dataclass
from functools import partial

import structlog

from qasir.errors import QasirError
from qasir.triton import Triton
from service.canary.checks import (
    Check,
    CheckName,
    ImageCheck,
    check_index,
    check_texts,
    run_checks,
)
from service.canary.golden_queries import check_golden_queries
from service.canary.scheduler import CanaryScheduler
from service.canary.windows import WindowStore
from service.catalogue.catalogue import Catalogue
from service.models.deployment import FindActive, Heartbeats
from service.models.reconciler import ModelReconciler
from service.models.rollout import Rollout
from service.models.store import ModelStore
from service.observability.metrics import SERVICE_METRICS
from service.observability.telemetry import Telemetry
from service.observability.tracing import triton_call
from service.search.engine import SearchEngine
from service.search.index_cache import IndexCache
from service.search.query_encoder import QueryEncoder
from service.search.reranker import CandidateRanker, RerankerEmbeddings
from service.settings import SearchSettings, Settings, TritonSettings
from service.storage.media import MediaStore
from service.storage.uploads import UploadStore

TRITON_KEY_FILE = "triton.key"
# Triton sees one probe per second and process, however many clients ask for readiness.
READY_SECONDS = 1.0

log = structlog.get_logger()


@dataclass(frozen=True)
class AppState:
    """What the transports of a service process share."""

    settings: Settings
    catalogue: Catalogue
    media: MediaStore
    uploads: UploadStore
    engine: SearchEngine
    rollout: Rollout
    reconciler: ModelReconciler
    telemetry: Telemetry
    readiness: "Readiness"
    canary: CanaryScheduler

    def close(self) -> None:
        self.reconciler.close()
        self.canary.stop()
        self.rollout.triton.close()
        self.catalogue.close()


class Readiness:
    """Whether searches can be answered: a model is active, indexed, and loaded in Triton.

    withdrawn: this process is about to stop, so nothing new should be sent to it.
    """

    def __init__(self, engine: SearchEngine, triton: Triton, active: FindActive) -> None:
        self._engine = engine
        self._triton = triton
        self._active = active
        self._lock = threading.Lock()
        self._asked = float("-inf")
        self._ready = False
        self._loaded = False
        self.withdrawn = False

    def load(self) -> bool:
        """Load the index; False while no model is active.

        A process does this before it accepts connections: the other one, which shares the port,
        serves meanwhile, and no search waits for it.
        """
        try:
            if not self._loaded:
                log.info("library loaded", videos=self._engine.load())
                self._loaded = True
        except QasirError as error:
            log.info("library not loaded", code=error.code, detail=str(error))
        return self._loaded

    def withdraw(self) -> None:
        """Report not ready from now on; requests under way go on."""
        self.withdrawn = True

    def check(self) -> bool:
        """Return whether searches can be answered, as of at most a second ago."""
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
    folders, catalogue = settings.folders, Catalogue(settings.folders.catalogue)
    media = MediaStore(folders, settings.max_upload_bytes, settings.disk_reserve_bytes)
    triton = Triton(settings.triton_url, deadline=settings.triton_seconds, call_context=triton_call)
    store, telemetry = ModelStore(settings.state), Telemetry(SERVICE_METRICS)
    engine = open_engine(settings, catalogue, media, triton, store.find_active, telemetry)
    control, heartbeats = _open_triton_control(settings), Heartbeats(folders.searching)
    windows = WindowStore(folders, settings.disk_reserve_bytes)
    checks = canary_checks(settings, catalogue, windows, engine, triton)
    run_canary = partial(run_checks, store.find_active, checks)
    limits = settings.max_unfinished_uploads, settings.upload_expires_seconds
    return AppState(
        settings=settings,
        catalogue=catalogue,
        media=media,
        uploads=UploadStore(folders.resumable, media, *limits),
        engine=engine,
        rollout=Rollout(settings, catalogue, media, store, triton),
        reconciler=ModelReconciler(store, engine.reconcile, control, heartbeats),
        telemetry=telemetry,
        readiness=Readiness(engine, triton, store.find_active),
        canary=CanaryScheduler(run_canary, folders.run, settings.canary_seconds),
    )


def open_engine(
    settings: SearchSettings,
    catalogue: Catalogue,
    media: MediaStore,
    triton: Triton,
    find_active: FindActive,
    telemetry: Telemetry,
) -> SearchEngine:
    """Compose the search engine of a process, with an index of its own."""
    index = IndexCache(settings.folders.index, catalogue, media, settings.search_seconds)
    encoder = QueryEncoder(triton, index, telemetry, settings)
    embeddings = RerankerEmbeddings(catalogue.vector_files, media)
    ranker = CandidateRanker(triton, encoder, catalogue.backfills, embeddings, telemetry, settings)
    return SearchEngine(encoder, index, ranker, find_active, telemetry, settings)


def canary_checks(
    settings: Settings,
    catalogue: Catalogue,
    windows: WindowStore,
    engine: SearchEngine,
    triton: Triton,
) -> dict[CheckName, Check]:
    """Compose the checks of the models and of the index that the engine searches."""
    return {
        "text": partial(check_texts, triton, settings.search_seconds),
        "image": ImageCheck(triton, catalogue, windows, engine.index),
        "index": partial(check_index, engine.index),
        "pair": lambda _: check_golden_queries(engine, settings),
    }


def _open_triton_control(settings: TritonSettings) -> Triton:
    key_file, key = settings.folders.run / TRITON_KEY_FILE, settings.triton_key
    if key is None and key_file.is_file():
        key = key_file.read_text().strip()
    return Triton(settings.triton_url, key, deadline=settings.triton_seconds)
