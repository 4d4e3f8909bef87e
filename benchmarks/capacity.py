"""Measures latency, ingestion and recall against grid size through a real Prometheus.

`python -m benchmarks capacity`. Needs an export (`dvc repro`), the demo corpus and a Prometheus
(`make monitor` says how to get it). The real stack indexes the test videos at every N of the
export and searches their captions; the report shows what Prometheus scraped.
"""

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from rich.console import Console

from benchmarks.capacity_plot import GridCapacity, plot
from benchmarks.rows import Row, machine
from benchmarks.search import served, settings_in
from monitoring.serve import monitored
from qasir.client import Client
from qasir.manifest import Manifest, read_manifest, write_manifest
from service.observability.metrics import MODES
from service.processes import free_ports
from service.stack.control import EXPORT, ROOT

DATASET = ROOT / "data" / "dataset"
PLOT = Path("results/capacity.svg")
CAPTIONS = 60
VIDEOS = 30
SCRAPE = "1s"
WINDOW = "15m"


def run() -> list[Row]:
    """Returns rows by grid size with N = 1 as the baseline, and draws the plot."""
    manifest = read_manifest(EXPORT)
    sizes = sorted(manifest.grids)
    say = Console(stderr=True).print
    prometheus, node = free_ports(2)
    with TemporaryDirectory() as folder:
        settings = settings_in(Path(folder) / "state").model_copy(
            update={"prometheus_port": prometheus, "node_exporter_port": node}
        )
        export = several_grid_sizes(Path(folder), manifest)
        with served(settings, export) as url, monitored(settings, say, SCRAPE) as watched:
            # Prometheus computes no rate for events before the first scrape.
            time.sleep(3)
            drive(url, sizes)
            time.sleep(3)
            found = [read(watched, manifest, n) for n in sizes]
    plot(found, manifest, PLOT)
    return [row for one in found for row in rows(one, found[0], manifest)]


def several_grid_sizes(folder: Path, manifest: Manifest) -> Path:
    """Copies the export with a profile that indexes at every N of the model."""
    export = folder / "export"
    shutil.copytree(EXPORT, export)
    profile = manifest.profile.model_copy(update={"grid_sizes": tuple(sorted(manifest.grids))})
    write_manifest(manifest.model_copy(update={"profile": profile}), export)
    return export


def drive(url: str, grid_sizes: Sequence[int]) -> None:
    """Indexes test videos, then searches captions, each text new to the cache."""
    lines = (DATASET / "test" / "queries.jsonl").read_text().splitlines()
    captions = [json.loads(line)["text"] for line in lines]
    files = sorted((DATASET / "videos").glob("test-*.mp4"))[:VIDEOS]
    with Client(url) as client:
        for upload in [client.upload(path) for path in files]:
            client.wait(upload.job_id)
        for number in range(CAPTIONS):
            for mode in MODES:
                for n in grid_sizes:
                    text = f"{captions[number % len(captions)]} {mode} {n}"
                    client.search(text, mode=mode, grid_size=n)


def read(prometheus: str, manifest: Manifest, n: int) -> GridCapacity:
    """Reads the metrics of one grid size from Prometheus."""

    def ask(expr: str) -> float:
        answer = httpx.post(f"{prometheus}/api/v1/query", data={"query": expr}).raise_for_status()
        return float(answer.json()["data"]["result"][0]["value"][1])

    def quantile(share: float, mode: str) -> float:
        labels = f'{{grid_size="{n}", mode="{mode}"}}'
        rate = f"sum by (le) (rate(qasir_search_seconds_bucket{labels}[{WINDOW}]))"
        return ask(f"histogram_quantile({share}, {rate})")

    def per_minute(metric: str) -> float:
        indexed = f'sum(increase(qasir_video_seconds_indexed_total{{grid_size="{n}"}}[{WINDOW}]))'
        return 60 * ask(f"sum(increase({metric}[{WINDOW}])) / {indexed}")

    encode = f'qasir_ingest_stage_seconds_sum{{grid_size="{n}", stage="encode"}}'
    variant = manifest.variant
    return GridCapacity(
        grid_size=n,
        resolution=manifest.grids[n],
        p50={mode: quantile(0.5, mode) for mode in MODES},
        p95={mode: quantile(0.95, mode) for mode in MODES},
        encode_per_minute=per_minute(encode),
        super_images_per_minute=per_minute(f'qasir_super_images_total{{grid_size="{n}"}}'),
        recall={
            k: ask(f'qasir_eval_recall{{k="{k}", grid_size="{n}", variant="{variant}"}}')
            for k in (1, 5, 10)
        },
    )


def rows(one: GridCapacity, first: GridCapacity, manifest: Manifest) -> Iterator[Row]:
    """Yields three rows of one grid size; a ratio above 1 is better than N = 1."""
    config = {
        "backbone": manifest.backbone,
        "resolution": one.resolution,
        "videos": VIDEOS,
        "recall@1": round(one.recall[1], 4),
        "recall@10": round(one.recall[10], 4),
        **machine(),
    }
    row = Row("", 0.0, "s", 0.0, 0.0, config)
    pairs = {
        "search p50": (one.p50["accurate"], first.p50["accurate"]),
        "search p95": (one.p95["accurate"], first.p95["accurate"]),
        "encode a minute of video": (one.encode_per_minute, first.encode_per_minute),
    }
    for name, (value, baseline) in pairs.items():
        yield replace(
            row,
            name=f"{name}, N = {one.grid_size}",
            value=value,
            baseline=baseline,
            ratio=baseline / value,
        )
