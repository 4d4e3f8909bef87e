"""Compares ingestion of super images at N = 2 with a dense, per-frame pipeline.

Both sides decode the same files in a thread while the encoder runs on ONNX Runtime. The encoder
has the size of CLIP ViT-B/32 with random weights, which cost the same. For `lite` decoding is the
bottleneck, so the row shows its share of that ceiling.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks.encoder import Encoder, grid_mask, session
from benchmarks.rows import Row, interleaved, machine
from qasir.config import load_params
from qasir.modeling.backbones import load_backbone
from qasir.modeling.backbones.hf import ImageTower
from qasir.modeling.backbones.vit import reader_of
from qasir.modeling.graph import Graph
from qasir.super_images import SuperImageBatch, stack, tile
from qasir.types import Bool, Uint8
from qasir.video import sample_frames

VIDEOS = 8
BATCH = 16
FPS = 1.0
REPEATS = 3
CLIP_RESOLUTION = 224

Encode = Callable[[Uint8, Bool], object]


def run() -> list[Row]:
    """Returns two rows: dense over super images for CLIP B/32; `lite` over decoding alone."""
    files = video_files()
    config = {"videos": len(files), "fps": FPS, "grid_size": 2, **machine()}
    clip = clip_encoder()
    side = load_params().resolution(2)
    lite = Encoder(load_backbone("lite"), side).embeddings
    dense, ours, lite_seconds, ceiling = interleaved(
        REPEATS,
        lambda: ingest(files, 1, CLIP_RESOLUTION, clip),
        lambda: ingest(files, 2, CLIP_RESOLUTION, clip),
        lambda: ingest(files, 2, side, lite),
        lambda: ingest(files, 2, side, nothing),
    )
    clip_config = {**config, "encoder": "CLIP ViT-B/32", "resolution": CLIP_RESOLUTION}
    lite_config = {**config, "encoder": "lite", "resolution": side}
    return [
        Row("ingestion speed-up over dense frames", ours, "s", dense, dense / ours, clip_config),
        Row(
            "ingestion's share of the decode ceiling",
            lite_seconds,
            "s",
            ceiling,
            ceiling / lite_seconds,
            lite_config,
        ),
    ]


def video_files() -> list[Path]:
    """Returns some videos of the demo corpus."""
    return sorted(Path("data/dataset/videos").glob("*.mp4"))[:VIDEOS]


def clip_encoder() -> Encode:
    """Builds a vision tower of the size of CLIP ViT-B/32, cells included."""
    torch.manual_seed(0)
    tower = ImageTower(reader_of(CLIPModel(CLIPConfig()).eval()), [0.5] * 3, [0.25] * 3)
    pixels = torch.zeros(2, CLIP_RESOLUTION, CLIP_RESOLUTION, 3, dtype=torch.uint8)
    inputs = {"super_images": pixels, "mask": torch.ones(2, 2, 2, dtype=torch.bool)}
    axes = {
        "super_images": ("S", "r", "r", "3"),
        "mask": ("S", "N", "N2"),
        "features": ("S", "1+P", "f"),
    }
    images = session(Graph("clip", tower, inputs, ("features",), axes))
    return lambda pixels, mask: images.run(None, {"super_images": pixels, "mask": grid_mask(mask)})


def nothing(pixels: Uint8, mask: Bool) -> None:
    """Encodes nothing: the decode ceiling."""


def ingest(files: Sequence[Path], grid_size: int, resolution: int, encode: Encode) -> None:
    """Decodes, samples and tiles in one thread and encodes in this one."""
    source = batches(files, grid_size, resolution)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(next, source, None)
        while (batch := coming.result()) is not None:
            coming = ahead.submit(next, source, None)
            encode(batch.pixels, batch.mask)


def batches(files: Sequence[Path], grid_size: int, resolution: int) -> Iterator[SuperImageBatch]:
    """Yields super images of all files, BATCH at a time."""
    images = (
        image for path in files for image in tile(sample_frames(path, FPS), grid_size, resolution)
    )
    while batch := list(islice(images, BATCH)):
        yield stack(batch)
