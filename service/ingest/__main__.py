"""The ingest worker as a process: `python -m service.ingest`."""

import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from qasir.errors import InvalidConfig, QasirError
from service.app import open_worker
from service.lock import only_one
from service.observability.logs import configure_logs
from service.observability.telemetry import CONTENT_TYPE, Telemetry
from service.observability.tracing import close_tracing, configure_tracing
from service.settings import Settings, load_settings


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
    with (
        only_one(settings.folders.run / "worker.lock", "worker"),
        open_worker(settings, stop) as worker,
    ):
        # Before the page, so that whoever waits for the page finds everything recovered.
        worker.recover()
        worker.uploads.sweep()
        serve_metrics(settings, worker.telemetry)
        worker.worker.run()
    close_tracing()


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
