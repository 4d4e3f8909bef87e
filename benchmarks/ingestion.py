"""From files to vectors: super images at N = 2 against a dense, per-frame pipeline.

Both sides decode the same real files in a thread while the encoder runs, on ONNX Runtime.
The encoder has the cost of CLIP ViT-B/32; its weights are random, which costs the same.
For `lite`, encoding is so cheap that decoding bounds it: the share of that ceiling is shown.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import onnxruntime
import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks.rows import Row, interleaved, machine
from qasir.modeling.backbones import load_backbone
from qasir.modeling.backbones.hf import ImageTower
from qasir.modeling.export import Graph, image_graph
from qasir.super_images import stack, tile
from qasir.types import Uint8
from qasir.video import sample_frames

VIDEOS = 8
BATCH = 16
FPS = 1.0
REPEATS = 3
CLIP_RESOLUTION = 224
LITE_RESOLUTION = 256


def run() -> list[Row]:
    """Two rows: dense over super images for CLIP B/32's cost; `lite` over decoding alone."""
    files = sorted(Path("data/dataset/videos").glob("*.mp4"))[:VIDEOS]
    config = {"videos": len(files), "fps": FPS, "grid_size": 2, **machine()}
    with TemporaryDirectory() as folder:
        clip, lite = clip_session(Path(folder)), lite_session(Path(folder))
        dense, ours, lite_seconds, ceiling = interleaved(
            REPEATS,
            lambda: ingest(files, 1, CLIP_RESOLUTION, clip),
            lambda: ingest(files, 2, CLIP_RESOLUTION, clip),
            lambda: ingest(files, 2, LITE_RESOLUTION, lite),
            lambda: ingest(files, 2, LITE_RESOLUTION, None),
        )
    clip_config = {**config, "encoder": "CLIP ViT-B/32", "resolution": CLIP_RESOLUTION}
    lite_config = {**config, "encoder": "lite", "resolution": LITE_RESOLUTION}
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


def clip_session(folder: Path) -> onnxruntime.InferenceSession:
    """A vision tower of CLIP ViT-B/32's size."""
    torch.manual_seed(0)
    tower = ImageTower(CLIPModel(CLIPConfig()).eval(), [0.5] * 3, [0.25] * 3)
    pixels = torch.zeros(2, CLIP_RESOLUTION, CLIP_RESOLUTION, 3, dtype=torch.uint8)
    axes = {"super_images": ("S", "r", "r", "3"), "vectors": ("S", "d")}
    Graph("clip", tower, {"super_images": pixels}, ("vectors",), axes).write(folder)
    return onnxruntime.InferenceSession(folder / "clip.onnx")


def lite_session(folder: Path) -> onnxruntime.InferenceSession:
    """The real `lite` image tower."""
    image_graph(load_backbone("lite"), LITE_RESOLUTION).write(folder)
    return onnxruntime.InferenceSession(folder / "super_image_encoder.onnx")


def ingest(
    files: list[Path], grid_size: int, resolution: int, session: onnxruntime.InferenceSession | None
) -> None:
    """Decode, sample and tile in one thread; encode in this one, or throw away."""
    source = batches(files, grid_size, resolution)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(next, source, None)
        while (pixels := coming.result()) is not None:
            coming = ahead.submit(next, source, None)
            if session is not None:
                session.run(None, {"super_images": pixels})


def batches(files: list[Path], grid_size: int, resolution: int) -> Iterator[Uint8]:
    """Super images of all files, BATCH at a time."""
    images = (
        image for path in files for image in tile(sample_frames(path, FPS), grid_size, resolution)
    )
    while batch := list(islice(images, BATCH)):
        yield stack(batch).pixels
