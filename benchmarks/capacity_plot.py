"""Draws the plot of `benchmarks.capacity`: latency, encoding and recall against grid size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from qasir.manifest import Manifest
from training.evaluate.plots import COLORS, headline, line, plain_ticks, save, styled

MILLI = 1000.0


@dataclass(frozen=True)
class GridCapacity:
    """Measurements at one grid size: seconds by mode, recall in 0..1 by k."""

    grid_size: int
    resolution: int
    p50: Mapping[str, float]
    p95: Mapping[str, float]
    encode_per_minute: float
    super_images_per_minute: float
    recall: Mapping[int, float]


def plot(found: Sequence[GridCapacity], manifest: Manifest, path: Path) -> None:
    """Draws three panels over N: search, encoding, recall."""
    with styled():
        figure = Figure(figsize=(10.5, 4.6), layout="constrained")
        searching, encoding, quality = figure.subplots(1, 3)
        sizes = [one.grid_size for one in found]
        for mode, color in zip(found[0].p50, COLORS, strict=False):
            slow = [(one.grid_size, MILLI * one.p95[mode]) for one in found]
            usual = [(one.grid_size, MILLI * one.p50[mode]) for one in found]
            line(searching, slow, f"{mode} p95", color)
            line(searching, usual, f"{mode} p50", color, "--")
        taken = [(one.grid_size, MILLI * one.encode_per_minute) for one in found]
        line(encoding, taken, "encoding", COLORS[2])
        for k, color in zip((1, 5, 10), COLORS[3:], strict=False):
            line(quality, [(one.grid_size, 100 * one.recall[k]) for one in found], f"R@{k}", color)
        titles = ("a search, ms", "encoding a minute of video, ms", "recall of the test split, %")
        for axes, title in zip((searching, encoding, quality), titles, strict=True):
            axes.set_title(title, loc="left")
            axes.set_ylim(0, axes.dataLim.y1 * 1.15)
            plain_ticks(axes, sizes, [f"{one.grid_size}\n{one.resolution} px" for one in found])
            axes.set_xlabel("grid size N, side R")
            axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2)
        headline(figure, f"{manifest.name}, {manifest.variant}: as Prometheus scraped it")
    save(figure, path)
