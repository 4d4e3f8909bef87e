"""Estimates what a dataset costs before a video is decoded: super images, disk, hours.

    python -m training.cost

Counts the annotated seconds of the dataset in `params.yaml`, and measures how many super images
per second the backbone encodes on this machine.
"""

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from rich.table import Table

from qasir.config import Params, load_params
from qasir.modeling.backbones import Backbone, load_backbone
from training.data.dataset import SPLITS, Video, read_split
from training.features.encode import Sampling, sampling_of
from training.features.towers import open_image_tower
from training.outputs import DATASET
from training.progress import console

FEATURE_BYTES = 2  # float16
CELL_BYTES = 1 + 2 * 8  # the mask, and the start and end of a cell
TIMED_BATCHES = 4


@dataclass(frozen=True)
class Cost:
    """One dataset at one grid size, in videos, seconds, super images and bytes."""

    videos: int
    seconds: float
    super_images: int
    feature_bytes: int
    pixel_bytes: int


def count(
    videos: Iterable[Video], fps: float, grid_size: int, resolution: int, feature_dim: int
) -> Cost:
    """Counts what `encode` writes, and the pixels that training through a backbone reads.

    >>> count([Video("a", 10.0)], fps=1.0, grid_size=2, resolution=224, feature_dim=512)
    Cost(videos=1, seconds=10.0, super_images=3, feature_bytes=15564, pixel_bytes=451584)
    """
    seconds = [video.duration for video in videos]
    images = sum(math.ceil(frames(s, fps) / grid_size**2) for s in seconds)
    cells = grid_size**2
    each = (1 + cells) * feature_dim * FEATURE_BYTES + cells * CELL_BYTES
    return Cost(len(seconds), sum(seconds), images, images * each, images * resolution**2 * 3)


def frames(seconds: float, fps: float) -> int:
    """Returns how many frames `qasir.video` samples: one per interval whose middle is shown."""
    return max(1, math.ceil(seconds * fps - 0.5))


def images_per_second(backbone: Backbone, sampling: Sampling) -> float:
    """Measures super images per second of the image tower as `encode` runs it, without decoding."""
    side, size = sampling.resolution, sampling.batch_size
    tower = open_image_tower(backbone, side)
    pixels = np.random.default_rng(0).integers(0, 256, (size, side, side, 3), np.uint8)
    mask = np.ones((size, sampling.grid_size**2), np.bool_)
    tower(pixels, mask)
    begin = time.perf_counter()
    for _ in range(TIMED_BATCHES):
        tower(pixels, mask)
    return TIMED_BATCHES * size / (time.perf_counter() - begin)


def cost_table(params: Params, videos: Sequence[Video], backbone: Backbone) -> Table:
    """Returns a row per grid size; hours are encoding alone, at the throughput measured here."""
    hours = sum(video.duration for video in videos) / 3600
    title = f"{params.prepare.dataset}: {len(videos)} videos, {hours:.1f} hours"
    table = Table("N", "super images", "features GB", "pixels GB", "images/s", "hours", title=title)
    for n in sorted(params.grids):
        sampling = sampling_of(params, n)
        cost = count(videos, sampling.fps, n, sampling.resolution, backbone.feature_dim)
        rate = images_per_second(backbone, sampling)
        table.add_row(
            str(n),
            f"{cost.super_images:,}",
            f"{cost.feature_bytes / 1e9:.2f}",
            f"{cost.pixel_bytes / 1e9:.1f}",
            f"{rate:.1f}",
            f"{cost.super_images / rate / 3600:.2f}",
        )
    return table


def main() -> None:
    params = load_params()
    videos = [video for split in SPLITS for video in read_split(DATASET, split).videos]
    console.print(cost_table(params, videos, load_backbone(params.encode.backbone)))


if __name__ == "__main__":
    main()
