"""A small real HTTP server that gives scripted answers in the shapes of the contract."""

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.processes import free_ports

VIDEO = {
    "id": "v1",
    "title": "dog.mp4",
    "metadata": {"camera": 3},
    "sha256": "ab",
    "bytes": 12,
    "duration": 8.0,
    "width": 64,
    "height": 48,
    "codec": "h264",
    "container": "mp4",
    "state": "ready",
    "created_at": "2026-01-02T03:04:05Z",
    "indexed_seconds": 8.0,
}
JOB = {
    "id": "j1",
    "video_id": "v1",
    "state": "ready",
    "stage": "commit",
    "progress": 1.0,
    "eta_seconds": None,
    "attempts": 1,
    "error": None,
    "created_at": "2026-01-02T03:04:05Z",
    "started_at": None,
    "finished_at": None,
}
MOMENT = {
    "start": 1.0,
    "end": 2.5,
    "score": 0.3,
    "super_image": 0,
    "cell": None,
    "thumbnail_url": "/v1/videos/v1/thumbnail?t=1.75",
}
RESULTS = {
    "results": [
        {
            "rank": 1,
            "score": 0.31,
            "score_z": 2.0,
            "video": {"id": "v1", "title": "dog.mp4", "duration": 8.0},
            "moments": [MOMENT],
        }
    ],
    "searched": {"video_count": 1, "seconds": 8.0},
    "snapshot": "s1",
    "mode": "accurate",
    "grid_size": 2,
    "timings_ms": {"total": 3.5},
}

MODEL = {
    "name": "lite2",
    "version": 2,
    "state": "building",
    "backbone": "lite2",
    "variant": "fine-tuned",
    "fingerprint": "ab",
    "grid_sizes": [2],
    "fps": 1.0,
    "coverage": {"video_count": 3, "embedded_count": 1, "failed_count": 0},
    "created_at": None,
    "error": None,
}


@dataclass
class ScriptedServer:
    """Answers each "METHOD /path" from its script, the last answer again and again."""

    url: str
    scripts: dict[str, list[tuple[int, Any]]] = field(default_factory=dict)
    requests: list[tuple[str, bytes]] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)

    def on(self, request: str, *answers: Any, status: int = 200) -> None:
        """Script the answers to a request; text is sent as it is, all else as JSON."""
        self.scripts[request] = [(status, answer) for answer in answers]

    def next_answer(self, request: str) -> tuple[int, Any]:
        script = self.scripts.get(request, [(404, "no such page")])
        return script.pop(0) if len(script) > 1 else script[0]


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    (port,) = free_ports(1)
    scripted = ScriptedServer(f"http://127.0.0.1:{port}")

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            scripted.requests.append((f"{self.command} {self.path}", body))
            status, answer = scripted.next_answer(f"{self.command} {self.path.split('?')[0]}")
            content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            if self.path.endswith("/events"):
                self.send_header("Content-Type", "text/event-stream")
            for name, value in scripted.headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = answer

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as listening:
        thread = threading.Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield scripted
        listening.shutdown()
        thread.join()


def problem(code: str, detail: str) -> dict[str, Any]:
    """Return an error as the service describes it."""
    title = {"type": "about:blank", "title": "", "status": 0, "errors": []}
    return {**title, "code": code, "detail": detail, "retryable": False}


def events(*jobs: dict[str, Any]) -> str:
    """Return the service's stream: an event for each change, keep-alives before and after it."""
    ping = ": ping - 2026-01-02 03:04:05+00:00\r\n\r\n"
    sent = [f"event: job\nid: {job['state']}\ndata: {json.dumps(job)}\n\n" for job in jobs]
    return ping + "".join(event + ping for event in sent)
