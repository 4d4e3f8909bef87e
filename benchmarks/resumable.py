"""Interrupts and resumes a 2 GB upload: `python -m benchmarks.resumable`, with a running stack.

The client is tuspy. It is dropped half-way, like a killed program, and a second one resumes at
the offset that the service reports. Prints both offsets, seconds, and the peak memory of the
service's processes.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import numpy as np
import psutil
from tusclient.client import TusClient

from qasir.client import Client
from service.settings import load_settings
from service.stack.control import processes

GIGABYTE = 1 << 30
BYTES = 2 * GIGABYTE
CHUNK_BYTES = 64 << 20
SECONDS = 30


def write_video(path: Path, size: int) -> None:
    """Write half a minute of moving noise, enlarged by a `free` box that players skip."""
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.width = stream.height = 128
        noise = np.random.default_rng(int.from_bytes(os.urandom(4), "little"))
        for _ in range(SECONDS * 5):
            pixels = np.repeat(np.repeat(noise.integers(0, 256, (8, 8, 3), np.uint8), 16, 0), 16, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    piece = os.urandom(1 << 20)
    count = size // len(piece)
    with path.open("ab") as file:
        # A size of 1 means that the real size follows in 64 bits.
        file.write((1).to_bytes(4, "big") + b"free" + (16 + count * len(piece)).to_bytes(8, "big"))
        for _ in range(count):
            file.write(piece)


@contextmanager
def memory(root: psutil.Process) -> Iterator[list[float]]:
    """Sample the resident memory of a process and its children, in MB, during the block."""

    def now() -> float:
        processes = [root, *root.children(recursive=True)]
        return sum(process.memory_info().rss for process in processes) / (1 << 20)

    def watch() -> None:
        while not stop.wait(0.1):
            samples.append(now())

    samples, stop, thread = [now()], threading.Event(), threading.Thread(target=watch)
    thread.start()
    try:
        yield samples
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Uploads, interrupts, resumes, and waits until the video is searchable."""
    settings = load_settings()
    leader = processes(settings)[-1].leader()
    if leader is None:
        sys.exit("no service runs; start the stack with `make up`")
    url = f"http://{settings.host}:{settings.http_port}"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.mp4"
        write_video(path, BYTES)
        begin = time.monotonic()
        with memory(leader) as samples:
            video_id, job_id = send(f"{url}/v1/uploads", path)
        seconds = time.monotonic() - begin
        print(f"{path.stat().st_size} bytes in {seconds:.1f} s")  # noqa: T201  # a script
    print(f"service: {samples[0]:.0f} MB before, {max(samples):.0f} MB at most")  # noqa: T201
    with Client(url) as client:
        job = client.wait(job_id)
        print(f"job {job.state}, {client.video(video_id).bytes} bytes kept")  # noqa: T201
        client.delete(video_id)


def send(url: str, path: Path) -> tuple[str, str]:
    """Upload by tuspy in two independent halves; returns the ids of video and job."""
    with path.open("rb") as file:
        first = TusClient(url).uploader(
            file_stream=file, chunk_size=CHUNK_BYTES, metadata={"filename": path.name}
        )
        first.upload(stop_at=BYTES // 2)
        print(f"broke off at {first.offset}")  # noqa: T201
    with path.open("rb") as file:
        second = TusClient(url).uploader(file_stream=file, chunk_size=CHUNK_BYTES, url=first.url)
        print(f"went on at {second.offset}")  # noqa: T201
        second.upload()
        headers = vars(second)["request"].response_headers
    return headers["qasir-video-id"], headers["qasir-job-id"]


if __name__ == "__main__":
    main()
