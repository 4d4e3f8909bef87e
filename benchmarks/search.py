"""Compares searches through the real stack with the bare models, for texts that no cache holds.

Needs an export (`dvc repro export`). The libraries consist of random vectors in state folders of
their own; Triton, worker and service are the real ones, on free ports: 10,000 videos of half a
minute with super images in the index, then with cells, and 1,000 videos of an hour.
"""

import shutil
import statistics
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx
import numpy as np
import onnxruntime

from benchmarks.library import SUPER_IMAGES, fill, random_vectors
from benchmarks.rows import Config, Row
from qasir.folding import scorer_input
from qasir.manifest import Manifest, read_manifest, write_manifest
from qasir.search import ScorerInput
from qasir.text import Tokenizer
from service.models.store import ModelStore
from service.processes import free_ports
from service.settings import Settings
from service.stack.control import EXPORT, down, processes, up

VIDEOS, LONG_VIDEOS, LONG = 10_000, 1_000, 900
SEARCHES, WARM_UP, CLIENTS = 200, 20, 4
MEGABYTE = 1e6


@dataclass(frozen=True)
class Measured:
    """Seconds of searches, of their recall and of the bare models; memory of one process.

    throughput: searches per second of one client, and of `CLIENTS` at a time.
    """

    searches: list[float]
    recall: list[float]
    bare: list[float]
    megabytes: float
    throughput: tuple[float, float]

    @property
    def p50(self) -> float:
        return statistics.median(self.searches)


def search() -> list[Row]:
    """Return latency, the overhead of transport, request size, and the cost of cells and length."""
    manifest = read_manifest(EXPORT)
    bare = Bare(manifest)
    with TemporaryDirectory() as folder:
        settings = settings_in(Path(folder) / "state")
        fill(settings, manifest, VIDEOS, SUPER_IMAGES)
        exports = (
            export_with(manifest, Path(folder) / unit, index_unit=unit)
            for unit in ("super-image", "cell")
        )
        whole, cells = (measure(settings, export, bare) for export in exports)
    with TemporaryDirectory() as folder:
        settings = settings_in(Path(folder) / "state")
        fill(settings, manifest, LONG_VIDEOS, LONG)
        long = measure(settings, EXPORT, bare)
    config: Config = {"videos": VIDEOS, "units": SUPER_IMAGES, "dim": manifest.dim}
    p50, p99 = whole.p50, float(np.percentile(whole.searches, 99))
    models = statistics.median(whole.bare) + statistics.median(whole.recall)
    alone, together = whole.throughput
    measured = {
        "search p50 over bare models and recall": (p50, "s", models),
        "search p99 over its p50": (p99, "s", p50),
        "search p50 by cells over super images": (cells.p50, "s", p50),
        "service memory by cells over super images": (cells.megabytes, "MB", whole.megabytes),
        "search p50 over 1,000 videos of an hour, over 10,000 short ones": (long.p50, "s", p50),
        "searches per second of four clients over one": (together, "1/s", alone),
        "scorer request over a megabyte": (bare.megabytes, "MB", 1.0),
    }
    return [
        Row(name, value, unit, baseline, value / baseline, config)
        for name, (value, unit, baseline) in measured.items()
    ]


class Bare:
    """The two models of a search, run in this process."""

    def __init__(self, manifest: Manifest) -> None:
        self._tokenizer = Tokenizer.load(EXPORT, manifest.tokenizer)
        self._text = onnxruntime.InferenceSession(EXPORT / "text_encoder.onnx")
        self._scorer = onnxruntime.InferenceSession(EXPORT / "attention_scorer.onnx")
        self._candidates = request(manifest)
        self._grid_size = np.array([[manifest.profile.grid_sizes[0]]])

    @property
    def megabytes(self) -> float:
        """Return the size of a request to the scorer."""
        size: int = sum(array.nbytes for array in vars(self._candidates).values())
        return size / MEGABYTE

    def seconds(self, text: str) -> float:
        """Tokenises, encodes and scores once; returns seconds."""
        begin = time.perf_counter()
        tokens = self._tokenizer.encode([text])
        inputs = {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}
        (query,) = self._text.run(None, inputs)
        videos = self._candidates
        arrays: dict[str, Any] = {
            "query": query,
            "grid_size": self._grid_size,
            "super_image_embeddings": videos.super_images[None],
            "log_weights": videos.log_weights[None],
            "cell_embeddings": videos.cells[None],
            "cell_log_weights": videos.cell_log_weights[None],
        }
        self._scorer.run(["scores"], arrays)
        return time.perf_counter() - begin


def request(manifest: Manifest) -> ScorerInput:
    """Pack random candidates as the service packs the best videos."""
    limits, size = Settings(), manifest.profile.grid_sizes[0]
    rng = np.random.default_rng(1)
    spec = manifest.spec(size)
    videos = [random_vectors(rng, spec, manifest.dim) for _ in range(limits.candidates)]
    query = videos[0].super_images[0].astype(np.float32)
    counts = (limits.candidates, limits.candidate_embeddings)
    return scorer_input(query, videos, manifest.branches[size], *counts)


def export_with(manifest: Manifest, export: Path, **profile: object) -> Path:
    """Copy the export to a folder, with these values in its profile."""
    shutil.copytree(EXPORT, export)
    changed = manifest.profile.model_copy(update=profile)
    write_manifest(manifest.model_copy(update={"profile": changed}), export)
    return export


def measure(settings: Settings, export: Path, bare: Bare) -> Measured:
    """Search the served library, each time for a text that no cache holds."""
    searches, recall, alone = [], [], []
    with served(settings, export) as url, httpx.Client(base_url=url, timeout=30) as client:
        for number in range(WARM_UP + SEARCHES):
            text = f"a dog catches frisbee number {number}"
            begin = time.perf_counter()
            answer = client.post("/v1/search", json={"query": text}).raise_for_status()
            searches.append(time.perf_counter() - begin)
            recall.append(answer.json()["timings_ms"]["recall"] / 1000)
            alone.append(bare.seconds(text))
        rates = rate(client, 1), rate(client, CLIENTS)
        megabytes = service_memory(settings)
    return Measured(searches[WARM_UP:], recall[WARM_UP:], alone[WARM_UP:], megabytes, rates)


def rate(client: httpx.Client, clients: int) -> float:
    """Return searches per second of some clients, each of which waits for its answer."""

    def ask(number: int) -> None:
        request = {"query": f"a cat sleeps for {clients} times {number}"}
        client.post("/v1/search", json=request).raise_for_status()

    begin = time.perf_counter()
    with ThreadPoolExecutor(clients) as threads:
        list(threads.map(ask, range(SEARCHES)))
    return SEARCHES / (time.perf_counter() - begin)


def service_memory(settings: Settings) -> float:
    """Return the resident memory of the largest service process."""
    (service,) = (process for process in processes(settings) if process.name == "service")
    return float(max(member.memory_info().rss for member in service.members()) / MEGABYTE)


def settings_in(state: Path) -> Settings:
    """Return settings with a state folder and free ports."""
    http, grpc, worker, *triton = free_ports(6)
    return Settings(
        state=state,
        http_port=http,
        grpc_port=grpc,
        worker_metrics_port=worker,
        triton_http_port=triton[0],
        triton_grpc_port=triton[1],
        triton_metrics_port=triton[2],
    )


@contextmanager
def served(settings: Settings, export: Path) -> Iterator[str]:
    """Run the stack with this export active; yields its URL."""
    store = ModelStore(settings.state)
    # Added first, so that `up` does not treat it as new and activate it.
    store.add(EXPORT)
    store.activate(store.add(export))
    up(settings, lambda _: None)
    try:
        yield f"http://{settings.host}:{settings.http_port}"
    finally:
        down(settings, lambda _: None)
