"""Measures seconds to ingest an hour of video, for every backbone, N and R of the study.

`qasir tune` reads these rows. Decoding and encoding overlap, as in the worker.
"""

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.encoder import Encoder
from benchmarks.ingestion import FPS, ingest, nothing, video_files
from benchmarks.rows import Row, interleaved, machine
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.video import probe

REPEATS = 3
HOUR = 3600.0
STUDY = Path("results/study.json")


def run() -> list[Row]:
    """Returns a row per backbone, N and R; the baseline is decoding and tiling alone."""
    files = video_files()
    return [timed(files, load_backbone(name), n, r) for name, n, r in measured(STUDY)]


def measured(study: Path) -> list[tuple[str, int, int]]:
    """Returns backbone, N and R of every row that `qasir tune` could propose."""
    return sorted(
        {
            (row["backbone"], row["grid_size"], row["resolution"])
            for row in json.loads(study.read_bytes())
            if (row["sampling"], row["recipe"]) == ("super-image", "")
        }
    )


def timed(files: Sequence[Path], backbone: Backbone, grid_size: int, resolution: int) -> Row:
    """Measures one grid of one backbone."""
    hours = sum(probe(path).duration for path in files) / HOUR
    run_with = partial(ingest, files, grid_size, resolution)
    encode = Encoder(backbone, resolution).embeddings
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
