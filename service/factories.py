"""How service and worker reach what they share: models, the running Triton, uploads."""

import threading

from qasir.errors import ModelUnavailable, NotFound
from qasir.triton import Triton
from service.models.active_model import ActiveModel, FindActiveModel
from service.models.deployment import SERVING_NAME
from service.models.store import ModelStore
from service.observability.tracing import triton_call
from service.settings import Settings
from service.storage.media import MediaStore
from service.storage.uploads import UploadStore

TRITON_KEY_FILE = "triton.key"


def find_active_model(settings: Settings) -> FindActiveModel:
    """A cheap way to ask for the active model again and again.

    Its call raises ModelUnavailable where no model is active yet.
    """
    store = ModelStore(settings.state)
    lock = threading.Lock()
    seen: dict[tuple[int, int], ActiveModel] = {}

    def find() -> ActiveModel:
        try:
            said = (store.root / SERVING_NAME).stat()
            # The file is replaced, never rewritten, so these two name its content.
            key = (said.st_ino, said.st_mtime_ns)
            with lock:
                if key not in seen:
                    seen.clear()
                    seen[key] = store.active()
                return seen[key]
        except (FileNotFoundError, NotFound) as error:
            raise ModelUnavailable(
                "no model is active; run `qasir models add <export>` and `qasir models activate 1`"
            ) from error

    return find


def open_triton(settings: Settings) -> Triton:
    """A client of the configured Triton that asks models, and may change nothing."""
    return Triton(settings.triton_url, deadline=settings.triton_seconds, call_context=triton_call)


def open_triton_control(settings: Settings) -> Triton:
    """A client that may load and unload models: for the service's processes alone."""
    key_file = settings.folders.run / TRITON_KEY_FILE
    key = settings.triton_key
    if key is None and key_file.is_file():
        key = key_file.read_text().strip()
    return Triton(settings.triton_url, key, deadline=settings.triton_seconds)


def open_uploads(settings: Settings, media: MediaStore) -> UploadStore:
    """The unfinished resumable uploads."""
    return UploadStore(
        settings.folders.uploads / "resumable",
        media,
        settings.max_unfinished_uploads,
        settings.upload_expires_seconds,
    )
