"""The worker as a process: settings, lock, signals, its metrics port, then the loop."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qasir.errors import InvalidConfig
from service.app import open_worker
from service.lock import only_one
from service.observability.logs import configure_logs
from service.observability.telemetry import CONTENT_TYPE, Telemetry
from service.observability.tracing import close_tracing, configure_tracing
from service.settings import Settings, load_settings


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
    with (
        only_one(settings.folders.run / "worker.lock", "worker"),
        open_worker(settings, stop) as worker,
    ):
        # Before the page, so that whoever waits for the page finds everything recovered.
        worker.recover()
        worker.uploads.sweep()
        with metrics_page(settings, worker.telemetry):
            worker.worker.run()
    close_tracing()


@contextmanager
def metrics_page(settings: Settings, telemetry: Telemetry) -> Iterator[None]:
    """Serve /metrics while the block runs.

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
            """A scrape is no news."""

    try:
        server = ThreadingHTTPServer((settings.host, settings.worker_metrics_port), Page)
    except OSError as error:
        raise InvalidConfig(
            f"port {settings.worker_metrics_port} for the worker's metrics: {error.strerror}; "
            f"set QASIR_WORKER_METRICS_PORT to a free one"
        ) from error
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
