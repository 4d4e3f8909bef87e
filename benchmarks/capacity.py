"""Measures latency, ingestion and recall against grid size through a real Prometheus.

`python -m benchmarks capacity`. Needs an export (`dvc repro`), the demo corpus and a Prometheus
(`make monitor` says how to get it). The real stack indexes the test videos at every N of the
export and searches their captions; the report shows what Prometheus scraped.
"""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
from rich.console import Console

from benchmarks.rows import Config, Row
from benchmarks.search import export_with, served, settings_in
from monitoring.serve import monitored
from qasir.client import Client
from qasir.manifest import Manifest, read_manifest
from service.observability.metrics import MODES
from service.processes import free_ports
from service.stack.control import EXPORT, ROOT
from training.evaluate.plots import COLORS, line, new_figure, plain_ticks

DATASET = ROOT / "data" / "dataset"
PLOT = Path("results/capacity.svg")
CAPTIONS = 60
VIDEOS = 30
SCRAPE = "1s"
WINDOW = "15m"
MILLI = 1000.0


@dataclass(frozen=True)
class GridCapacity:
    """Measurements at one grid size: seconds by mode, recall in 0..1 by k."""

    grid_size: int
    resolution: int
    p50: Mapping[str, float]
    p95: Mapping[str, float]
    encode_per_minute: float
    recall: Mapping[int, float]


def capacity() -> list[Row]:
    """Return rows by grid size with N = 1 as the baseline, and draws the plot."""
    manifest = read_manifest(EXPORT)
    sizes = sorted(manifest.grids)
    say = Console(stderr=True).print
    prometheus, node = free_ports(2)
    with TemporaryDirectory() as folder:
        settings = settings_in(Path(folder) / "state").model_copy(
            update={"prometheus_port": prometheus, "node_exporter_port": node}
        )
        export = export_with(manifest, Path(folder) / "export", grid_sizes=tuple(sizes))
        with served(settings, export) as url, monitored(settings, say, SCRAPE) as watched:
            # Prometheus computes no rate for events before the first scrape.
            time.sleep(3)
            drive(url, sizes)
            time.sleep(3)
            capacities = [read(watched, manifest, n) for n in sizes]
    plot(capacities, manifest, PLOT)
    return [row for each in capacities for row in rows(each, capacities[0], manifest)]


def drive(url: str, grid_sizes: Sequence[int]) -> None:
    """Index test videos, then searches captions, each text new to the cache."""
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
    """Read the metrics of one grid size from Prometheus."""

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
        recall={
            k: ask(f'qasir_eval_recall{{k="{k}", grid_size="{n}", variant="{variant}"}}')
            for k in (1, 5, 10)
        },
    )


def rows(at: GridCapacity, first: GridCapacity, manifest: Manifest) -> Iterator[Row]:
    """Yield three rows of one grid size; a ratio above 1 is better than N = 1."""
    config: Config = {
        "backbone": manifest.backbone,
        "resolution": at.resolution,
        "videos": VIDEOS,
        "recall@1": round(at.recall[1], 4),
        "recall@10": round(at.recall[10], 4),
    }
    pairs = {
        "search p50": (at.p50["accurate"], first.p50["accurate"]),
        "search p95": (at.p95["accurate"], first.p95["accurate"]),
        "encode a minute of video": (at.encode_per_minute, first.encode_per_minute),
    }
    for name, (value, baseline) in pairs.items():
        name_at = f"{name}, N = {at.grid_size}"
        yield Row(name_at, value, "s", baseline, baseline / value, config)


def plot(capacities: Sequence[GridCapacity], manifest: Manifest, path: Path) -> None:
    """Draw three panels over N: search, encoding, recall."""
    title = f"{manifest.name}, {manifest.variant}: as Prometheus scraped it"
    with new_figure(path, title, (10.5, 4.6), 1, 3, with_legend=False) as panels:
        searching, encoding, quality = panels[0]
        sizes = [at.grid_size for at in capacities]
        for mode, color in zip(capacities[0].p50, COLORS, strict=False):
            slow = [(at.grid_size, MILLI * at.p95[mode]) for at in capacities]
            usual = [(at.grid_size, MILLI * at.p50[mode]) for at in capacities]
            line(searching, slow, f"{mode} p95", color)
            line(searching, usual, f"{mode} p50", color, "--")
        taken = [(at.grid_size, MILLI * at.encode_per_minute) for at in capacities]
        line(encoding, taken, "encoding", COLORS[2])
        for k, color in zip((1, 5, 10), COLORS[3:], strict=False):
            line(
                quality, [(at.grid_size, 100 * at.recall[k]) for at in capacities], f"R@{k}", color
            )
        titles = ("a search, ms", "encoding a minute of video, ms", "recall of the test split, %")
        for axes, title in zip((searching, encoding, quality), titles, strict=True):
            axes.set_title(title, loc="left")
            axes.set_ylim(0, axes.dataLim.y1 * 1.15)
            plain_ticks(axes, sizes, [f"{at.grid_size}\n{at.resolution} px" for at in capacities])
            axes.set_xlabel("grid size N, side R")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2)
