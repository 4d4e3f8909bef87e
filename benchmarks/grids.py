"""Seconds to ingest an hour of video, for every grid of params and every offline backbone.

`qasir tune` reads these rows. Decoding and encoding overlap, as in the worker.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.encoder import Encoder
from benchmarks.ingestion import FPS, ingest, nothing, video_files
from benchmarks.rows import Row, interleaved, machine
from qasir.config import load_params
from qasir.modeling.backbones import OFFLINE, Backbone, load_backbone
from qasir.video import probe

REPEATS = 3
HOUR = 3600.0


def run() -> list[Row]:
    """A row per backbone and N; the baseline is decoding and tiling alone."""
    files = video_files()
    grids = load_params().grids
    return [
        timed(files, backbone, grid_size, grid.resolution)
        for backbone in map(load_backbone, OFFLINE)
        for grid_size, grid in grids.items()
    ]


def timed(files: Sequence[Path], backbone: Backbone, grid_size: int, resolution: int) -> Row:
    """One grid of one backbone."""
    hours = sum(probe(path).duration for path in files) / HOUR
    run_with = partial(ingest, files, grid_size, resolution)
    encode = Encoder(backbone, resolution).units
    taken, ceiling = interleaved(REPEATS, lambda: run_with(encode), lambda: run_with(nothing))
    return Row(
        f"ingest {backbone.name}, N = {grid_size}, R = {resolution}",
        taken / hours,
        "s per video-hour",
        ceiling / hours,
        taken / ceiling,
        {
            "backbone": backbone.name,
            "grid_size": grid_size,
            "resolution": resolution,
            "fps": FPS,
            **machine(),
        },
    )
