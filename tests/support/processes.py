"""Small processes that stand for Triton, worker and service, and what is left of them."""

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.processes import MARK, Port, Process, free_ports, python

# Answers 200 after a moment; its child leaves the session, as BentoML's workers do.
SERVER = """
import http.server, subprocess, sys, time
class Ok(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
    def log_message(self, *_): pass
print("starting", flush=True)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
time.sleep(0.2)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Ok).serve_forever()
"""
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + SERVER
BROKEN = "print('no model in the store'); raise SystemExit(3)"
SILENT = "import time; print('thinking', flush=True); time.sleep(600)"


def fake(folder: Path, name: str, script: str = SERVER, **changes: float) -> Process:
    (port,) = free_ports(1)
    return Process(
        name=name,
        command=python("-c", script, str(port)),
        ready_url=f"http://127.0.0.1:{port}/",
        ports=[Port("127.0.0.1", port, f"QASIR_{name.upper()}_PORT")],
        ready_seconds=changes.get("ready_seconds", 20.0),
        stop_seconds=changes.get("stop_seconds", 5.0),
        folder=folder,
        variables={},
    )


def marked(folder: Path) -> list[psutil.Process]:
    """Every living process with the mark of this folder, found without the code under test."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK, "").startswith(str(folder)):
                found.append(process)
        except psutil.Error:
            continue
    return [p for p in found if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


@pytest.fixture
def run_folder(tmp_path: Path) -> Iterator[Path]:
    """A run folder; what a failed test leaves running ends with it."""
    yield tmp_path
    for process in marked(tmp_path):
        process.kill()
