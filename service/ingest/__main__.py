"""The ingest worker as a process: `python -m service.ingest`."""

import signal
import sys
import threading
from contextlib import closing
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qasir.errors import InvalidConfig, QasirError
from qasir.triton import Triton
from service.canary.windows import WindowStore
from service.catalogue.catalogue import Catalogue
from service.ingest.encode import Encoder
from service.ingest.targets import WorkerModels
from service.ingest.worker import Worker, recover
from service.lock import only_one
from service.models.rollout import Rollout
from service.models.store import ModelStore
from service.observability.logs import configure_logs
from service.observability.metrics import WORKER_METRICS
from service.observability.telemetry import CONTENT_TYPE, Telemetry
from service.observability.tracing import close_tracing, configure_tracing, triton_call
from service.settings import Settings, load_settings
from service.storage.media import MediaStore
from service.storage.uploads import UploadStore


def main() -> int:
    """Run until SIGTERM or SIGINT; 2 where the settings are wrong or another worker runs."""
    try:
        run_worker()
    except QasirError as error:
        print(f"qasir worker: {error}", file=sys.stderr)  # noqa: T201  # a command's last word
        return 2
    return 0


def run_worker() -> None:
    """Work off the queue until a signal says stop.

    Raises:
        InvalidConfig: a setting is wrong, or the metrics port is taken.
        Conflict: another worker has this state folder.
    """
    settings = load_settings()
    configure_logs("worker")
    configure_tracing(settings, "worker")
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with only_one(settings.folders.run / "worker.lock", "worker"):
        _work(settings, stop)
    close_tracing()


def _work(settings: Settings, stop: threading.Event) -> None:
    folders, reserve_bytes = settings.folders, settings.disk_reserve_bytes
    deadline, max_unfinished = settings.triton_seconds, settings.max_unfinished_uploads
    with (
        closing(Catalogue(folders.catalogue)) as catalogue,
        Triton(settings.triton_url, deadline=deadline, call_context=triton_call) as triton,
    ):
        media = MediaStore(folders, settings.max_upload_bytes, reserve_bytes)
        keep_seconds = settings.upload_expires_seconds
        uploads = UploadStore(folders.resumable, media, max_unfinished, keep_seconds)
        store, telemetry = ModelStore(settings.state), Telemetry(WORKER_METRICS)
        rollout = Rollout(settings, catalogue, media, store, triton)
        models = WorkerModels(store, rollout, catalogue.backfills, triton)
        windows = WindowStore(folders, reserve_bytes)
        encoder = Encoder(settings, media, triton, windows, telemetry, stop)
        worker = Worker(settings, catalogue, encoder, models, telemetry, stop)
        # Before the metrics page, which `qasir up` takes for ready.
        recover(settings, catalogue, media, store.find_active)
        uploads.sweep()
        serve_metrics(settings, telemetry)
        worker.run()


def serve_metrics(settings: Settings, telemetry: Telemetry) -> None:
    """Serve /metrics from a thread until the process ends.

    Raises:
        InvalidConfig: the port is taken.
    """

    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = self.path == "/metrics"
            body = telemetry.page() if found else b"see /metrics\n"
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log no scrape."""

    try:
        server = ThreadingHTTPServer((settings.host, settings.worker_metrics_port), Page)
    except OSError as error:
        raise InvalidConfig(
            f"port {settings.worker_metrics_port} for the worker's metrics: {error.strerror}; "
            f"set QASIR_WORKER_METRICS_PORT to a free one"
        ) from error
    threading.Thread(target=server.serve_forever, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main())
