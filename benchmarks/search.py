"""A search through the real stack: 10,000 videos, text never cached, against the bare models.

Needs an export (`dvc repro`). The library is random vectors in a state folder of its own;
Triton, worker and service are the real ones, on free ports.
"""

import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import numpy as np
import onnxruntime
from sqlalchemy import insert

from benchmarks.recall import unit
from benchmarks.rows import Row, machine
from qasir.manifest import Manifest, read_manifest
from qasir.search import NOT_A_UNIT
from qasir.text import Tokenizer
from qasir.vectors import VideoVectors, write_vectors
from service.processes import free_ports
from service.settings import Settings
from service.stack import EXPORT, down, up
from service.store import schema, videos
from service.store.videos import VectorFile, Video

VIDEOS, UNITS = 10_000, 9
SEARCHES, WARM_UP = 200, 20
CANDIDATES = 50


def run() -> list[Row]:
    """p50 and p99 of a search, and p50 of what transport, Triton and service add."""
    manifest = read_manifest(EXPORT)
    with TemporaryDirectory() as folder, served(Path(folder), manifest) as url:
        client = httpx.Client(base_url=url, timeout=30)
        bare_models = Bare(manifest)
        ours, recall, bare = [], [], []
        for number in range(WARM_UP + SEARCHES):
            text = f"a dog catches frisbee number {number}"
            begin = time.perf_counter()
            answer = client.post("/v1/search", json={"query": text}).raise_for_status()
            ours.append(time.perf_counter() - begin)
            recall.append(answer.json()["timings_ms"]["recall"] / 1000)
            bare.append(bare_models.seconds(text))
    config = {"videos": VIDEOS, "units": UNITS, "dim": manifest.dim, **machine()}
    p50, p99 = (float(np.percentile(ours[WARM_UP:], q)) for q in (50, 99))
    needed = statistics.median(bare[WARM_UP:]) + statistics.median(recall[WARM_UP:])
    return [
        Row("search p50 over bare models and recall", p50, "s", needed, p50 / needed, config),
        Row("search p99 over its p50", p99, "s", p50, p99 / p50, config),
    ]


class Bare:
    """The two models of a search, in this process."""

    def __init__(self, manifest: Manifest) -> None:
        self._tokenizer = Tokenizer.load(EXPORT, manifest.tokenizer)
        self._text = onnxruntime.InferenceSession(EXPORT / "text_encoder.onnx")
        self._scorer = onnxruntime.InferenceSession(EXPORT / "attention_scorer.onnx")
        self._units = np.ones((1, CANDIDATES * UNITS, manifest.dim), np.float16)
        self._log_weights = np.full((1, CANDIDATES, CANDIDATES * UNITS), NOT_A_UNIT, np.float32)

    def seconds(self, text: str) -> float:
        """Tokenise, encode and score once."""
        begin = time.perf_counter()
        tokens = self._tokenizer.encode([text])
        inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        (query,) = self._text.run(None, inputs)
        scored = {"query": query, "units": self._units, "log_weights": self._log_weights}
        self._scorer.run(None, scored)
        return time.perf_counter() - begin


@contextmanager
def served(folder: Path, manifest: Manifest) -> Iterator[str]:
    """The stack over a filled library; its URL."""
    http, worker, *triton = free_ports(5)
    settings = Settings(
        state=folder,
        http_port=http,
        worker_metrics_port=worker,
        triton_http_port=triton[0],
        triton_grpc_port=triton[1],
        triton_metrics_port=triton[2],
    )
    fill(settings, manifest)
    up(settings, lambda _: None)
    try:
        yield f"http://{settings.host}:{http}"
    finally:
        down(settings, lambda _: None)


def fill(settings: Settings, manifest: Manifest) -> None:
    """Write VIDEOS random videos as ingests would have, in one transaction."""
    settings.folders.create()
    rng = np.random.default_rng(0)
    size = manifest.profile.grid_sizes[0]
    passport = manifest.passport(size)
    mask, times = np.ones((UNITS, size**2), np.bool_), np.zeros((UNITS, size**2, 2))
    seconds = float(UNITS * size**2)
    engine = schema.open_engine(settings.folders.catalogue)
    with schema.writing(engine) as connection:
        for number in range(VIDEOS):
            video_id = f"v{number:020x}"
            rows = unit(rng.standard_normal((UNITS, manifest.dim), dtype=np.float32))
            vectors = VideoVectors(passport, rows.astype(np.float16), mask, times)
            path = f"{video_id}/random.npz"
            write_vectors(vectors, settings.folders.vectors / path)
            videos.add(connection, _video(video_id, number, seconds))
            facts = (passport.fingerprint, size, passport.fps, path)
            file = VectorFile(video_id, *facts, UNITS * size**2, UNITS, seconds)
            videos.add_vectors(connection, file)
        change = {"kind": "indexed", "video_id": video_id}
        connection.execute(insert(schema.changes).values(change))
    engine.dispose()


def _video(video_id: str, number: int, seconds: float) -> Video:
    title, digest = f"video {number}", f"{number:064x}"
    return Video(video_id, title, {}, digest, 1, seconds, 1, 1, "h264", "mp4", "ready", 0.0)
