"""A real worker and a real service of two processes, on a state folder of their own."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import psutil
import pytest

from service.processes import Process
from service.settings import Settings
from service.stack.control import processes
from tests.support.triton import RunningTriton, stack_settings
from tests.support.videos import write_painted
from tests.support.waiting import wait_for

READY_SECONDS = 60.0
MAX_UPLOAD_BYTES = 4 << 20
MAX_VIDEO_SECONDS = 1200.0


@dataclass(frozen=True)
class RunningService:
    """Worker and service; a test that kills one starts it again."""

    settings: Settings
    worker: Process
    service: Process
    folder: Path
    http: httpx.Client
    _made: list[Path] = field(default_factory=list)

    def new_video(self, seconds: float = 5.0) -> Path:
        """A painted video whose bytes no other test has."""
        number = len(self._made)
        path = self.folder / f"video {number}.mp4"
        count = round(seconds)
        # The first pictures spell the number; so every file is another one.
        spelled = [*divmod(number, 200), 255]
        numbers = [spelled[i] if i < len(spelled) else i % 256 for i in range(count)]
        self._made.append(write_painted(path, seconds, fps=1, numbers=numbers))
        return path

    def upload(self, path: Path, **fields: str) -> httpx.Response:
        """POST a file as a browser or curl does."""
        with path.open("rb") as file:
            return self.http.post("/v1/videos", files={"video": (path.name, file)}, data=fields)

    def finished(self, job_id: str) -> dict[str, Any]:
        """Wait for a job's end."""
        return self.until(job_id, {"ready", "failed", "cancelled"})

    def until(self, job_id: str, states: set[str]) -> dict[str, Any]:
        """Wait for a job to be in one of these states."""
        job: dict[str, Any] = wait_for(lambda: self._job_in(job_id, states))
        return job

    def until_encoding(self, job_id: str) -> None:
        """Wait until a job is at its first super images; with Triton paused it gets no further."""
        wait_for(lambda: self.http.get(f"/v1/jobs/{job_id}").json()["stage"] == "encode")

    def ingested(self, seconds: float = 5.0) -> str:
        """Upload a new video and wait until it is searchable; its id."""
        accepted = self.upload(self.new_video(seconds)).json()
        job = self.finished(accepted["job_id"])
        assert job["state"] == "ready", job
        return str(accepted["video_id"])

    def search(self, query: str = "a red ball", **options: Any) -> dict[str, Any]:
        """Search that must succeed."""
        answer = self.http.post("/v1/search", json={"query": query, "top_k": 100, **options})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def found(self) -> set[str]:
        """Ids of every video that a search finds."""
        return {result["video"]["id"] for result in self.search()["results"]}

    def kill(self, process: Process) -> None:
        """End it, and all it started, as a crash would."""
        members = process.members()
        for member in members:
            member.kill()
        psutil.wait_procs(members, timeout=5)

    def start(self, process: Process) -> None:
        """Start it again and wait until it is ready, the service in all its processes."""
        process.start()
        process.wait()
        if process is self.service:
            wait_for(lambda: len(self.listeners()) == self.settings.workers)

    def listeners(self) -> set[int]:
        """The service processes that take gRPC calls; each opens its port last."""
        port = self.settings.grpc_port
        return {
            member.pid
            for member in self.service.members()
            for connection in member.net_connections(kind="tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        }

    def reaches_triton(self) -> bool:
        """Whether its processes do, if it runs; each connection may land on either of them."""
        if not self.service.members():
            return True
        url, count = f"{self.http.base_url}/readyz", 4 * self.settings.workers
        # Without `verify` a new client takes 30 ms to read all certificates.
        return all(httpx.get(url, verify=False).status_code == 200 for _ in range(count))

    def _job_in(self, job_id: str, states: set[str]) -> dict[str, Any] | None:
        job: dict[str, Any] = self.http.get(f"/v1/jobs/{job_id}").json()
        return job if job["state"] in states else None


def assert_alike(left: list[dict[str, Any]], right: list[dict[str, Any]]) -> None:
    """The same results from two processes.

    Videos came to them in different orders, so they add up in different orders: scores
    agree but for rounding, and what is that close may change places.
    """
    known = {result["video"]["id"]: result for result in right}
    assert {result["video"]["id"] for result in left} == set(known)
    for mine in left:
        other = known[mine["video"]["id"]]
        assert mine["video"] == other["video"]
        assert mine["score"] == pytest.approx(other["score"], abs=1e-5)
        assert mine["score_z"] == pytest.approx(other["score_z"], abs=1e-3)
        spans = [[(m["start"], m["end"]) for m in r["moments"]] for r in (mine, other)]
        assert spans[0] == spans[1]


def service_settings(triton: RunningTriton, state: Path) -> Settings:
    """Settings of a service with its own state and ports, and the session's models and Triton."""
    state.mkdir()
    (state / "models").symlink_to(triton.settings.folders.models)
    base, shared = stack_settings(state), triton.settings
    return base.model_copy(
        update={
            "triton_http_port": shared.triton_http_port,
            "triton_grpc_port": shared.triton_grpc_port,
            "triton_metrics_port": shared.triton_metrics_port,
            "triton_key": shared.triton_key,
            "workers": 2,
            "max_upload_bytes": MAX_UPLOAD_BYTES,
            "max_video_seconds": MAX_VIDEO_SECONDS,
            "disk_reserve_bytes": 1 << 20,
            "poll_seconds": 0.1,
            "canary_seconds": 2.0,
        }
    )


@pytest.fixture(scope="session")
def running_service(
    triton_server: RunningTriton, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningService]:
    """The session's worker and service."""
    folder = tmp_path_factory.mktemp("service")
    settings = service_settings(triton_server, folder / "state")
    _, worker, service = processes(settings)
    url = f"http://{settings.host}:{settings.http_port}"
    with httpx.Client(base_url=url, timeout=30) as http:
        try:
            running = RunningService(settings, worker, service, folder, http)
            for process in (worker, service):
                running.start(process)
            triton_server.clients.append(running.reaches_triton)
            yield running
            triton_server.clients.remove(running.reaches_triton)
        finally:
            for process in (service, worker):
                process.stop()


def large(service: RunningService, size: int = 2 << 20) -> Path:
    """A new video of about this many bytes: players skip what is in a `free` box."""
    path = service.new_video()
    with path.open("ab") as file:
        file.write((size + 8).to_bytes(4) + b"free" + os.urandom(size))
    return path


def write_sound(path: Path) -> Path:
    """A container with sound and no pictures."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
