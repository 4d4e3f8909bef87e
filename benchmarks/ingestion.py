"""Measures what super images save: in the encoder alone, in whole ingests, per N and backbone.

Learned weights are random, which takes equally long.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch
from transformers import CLIPConfig, CLIPModel

from benchmarks.rows import Config, Row, interleaved
from qasir.config import load_params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.backbones.hf import ImageTower, reader_of
from qasir.modeling.export import Graph, image_graph, temporal_graph
from qasir.modeling.retriever import untrained
from qasir.super_images import SuperImageBatch, stack, tile
from qasir.types import Bool, Uint8
from qasir.video import probe, sample_frames

VIDEOS = 8
BATCH = 16
FPS = 1.0
REPEATS = 3
HOUR = 3600.0
# Of the encoder alone: frames, side R in pixels, repeats.
FRAMES, RESOLUTION, ENCODER_REPEATS = 144, 224, 5
STUDY = Path("results/study.json")

# Super images uint8 [S, R, R, 3] and their mask bool [S, P] -> embeddings that nobody reads.
Encode = Callable[[Uint8, Bool], object]


def encoding() -> list[Row]:
    """Return a row per N: seconds for FRAMES frames as super images and one by one, at equal R.

    Each call returns vectors of super images and cells, so N = 1 does the same work per image.
    """
    run = onnx_encoder(image_graph(load_backbone("lite"), RESOLUTION))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (FRAMES, RESOLUTION, RESOLUTION, 3), np.uint8)

    def encode(grid_size: int) -> None:
        mask = np.ones((FRAMES // grid_size**2, grid_size**2), np.bool_)
        for begin in range(0, len(mask), BATCH):
            part = mask[begin : begin + BATCH]
            run(pixels[begin : begin + len(part)], part)

    sizes = (1, 2, 3, 4)
    seconds = interleaved(ENCODER_REPEATS, *(partial(encode, n) for n in sizes))
    config: Config = {"backbone": "lite", "frames": FRAMES, "resolution": RESOLUTION}
    return [
        Row(f"encoding speed-up at N = {n}", taken, "s", seconds[0], seconds[0] / taken, config)
        for n, taken in zip(sizes[1:], seconds[1:], strict=True)
    ]


def ingestion() -> list[Row]:
    """Return two rows at N = 2: dense over super images for CLIP B/32; `lite` over decoding alone.

    All sides decode the same files in a thread while the encoder runs on ONNX Runtime. For `lite`
    decoding is the bottleneck, so its row shows the share of that ceiling.
    """
    files = video_files()
    clip, lite = clip_encoder(), load_params().resolution(2)
    dense, ours, taken, ceiling = interleaved(
        REPEATS,
        lambda: ingest(files, 1, RESOLUTION, clip),
        lambda: ingest(files, 2, RESOLUTION, clip),
        partial(ingest, files, 2, lite, video_encoder(load_backbone("lite"), lite)),
        lambda: ingest(files, 2, lite, nothing),
    )
    config: Config = {"videos": len(files), "fps": FPS, "grid_size": 2}
    of_clip: Config = {**config, "encoder": "CLIP ViT-B/32", "resolution": RESOLUTION}
    of_lite: Config = {**config, "encoder": "lite", "resolution": lite}
    share = "ingestion's share of the decode ceiling"
    return [
        Row("ingestion speed-up over dense frames", ours, "s", dense, dense / ours, of_clip),
        Row(share, taken, "s", ceiling, ceiling / taken, of_lite),
    ]


def grids() -> list[Row]:
    """Return seconds per hour of video for every backbone, N and R of the study.

    `qasir tune` reads these rows. The baseline is decoding and tiling alone.
    """
    files = video_files()
    measured = {
        (row["backbone"], row["grid_size"], row["resolution"])
        for row in json.loads(STUDY.read_bytes())
        if (row["sampling"], row["recipe"]) == ("super-image", "")
    }
    return [timed(files, load_backbone(name), n, r) for name, n, r in sorted(measured)]


def timed(files: Sequence[Path], backbone: Backbone, grid_size: int, resolution: int) -> Row:
    hours = sum(probe(path).duration for path in files) / HOUR
    run_with = partial(ingest, files, grid_size, resolution)
    encode = video_encoder(backbone, resolution)
    taken, ceiling = interleaved(REPEATS, lambda: run_with(encode), lambda: run_with(nothing))
    name = f"ingest {backbone.name}, N = {grid_size}, R = {resolution}"
    place: Config = {"backbone": backbone.name, "grid_size": grid_size, "resolution": resolution}
    seconds = (taken / hours, "s per video-hour", ceiling / hours)
    return Row(name, *seconds, taken / ceiling, {**place, "fps": FPS})


def video_files() -> list[Path]:
    return sorted(Path("data/dataset/videos").glob("*.mp4"))[:VIDEOS]


def onnx_encoder(*graphs: Graph) -> Encode:
    """Run graphs one after the other on ONNX Runtime, as Triton does."""
    with TemporaryDirectory() as folder:
        for graph in graphs:
            graph.write(Path(folder))
        paths = [Path(folder) / f"{graph.name}.onnx" for graph in graphs]
        sessions = [onnxruntime.InferenceSession(path) for path in paths]

    def encode(pixels: Uint8, mask: Bool) -> object:
        side = round(mask.shape[1] ** 0.5)
        square, output = mask.reshape(-1, side, side), pixels
        for graph, session in zip(graphs, sessions, strict=True):
            inputs = dict(zip(graph.inputs, (output, square), strict=True))
            output = session.run([next(iter(graph.outputs))], inputs)[0]
        return output

    return encode


def video_encoder(backbone: Backbone, resolution: int) -> Encode:
    """Export a backbone with the adapters and temporal encoder of params.yaml, for side R."""
    params = load_params()
    retriever = untrained(backbone, params.finetune.retriever, tuple(params.grids))
    return onnx_encoder(
        image_graph(backbone, resolution), temporal_graph(backbone, retriever.eval())
    )


def clip_encoder() -> Encode:
    """Export a vision tower of the size of CLIP ViT-B/32, cells included."""
    torch.manual_seed(0)
    tower = ImageTower(reader_of(CLIPModel(CLIPConfig()).eval()), [0.5] * 3, [0.25] * 3)
    pixels = torch.zeros(2, RESOLUTION, RESOLUTION, 3, dtype=torch.uint8)
    mask = torch.ones(2, 2, 2, dtype=torch.bool)
    inputs = {"super_images": (pixels, "S r r 3"), "mask": (mask, "S N N2")}
    return onnx_encoder(Graph("clip", tower, inputs, {"features": "S 1+P f"}))


def nothing(pixels: Uint8, mask: Bool) -> None:
    """Encode nothing: the decode ceiling."""


def ingest(files: Sequence[Path], grid_size: int, resolution: int, encode: Encode) -> None:
    """Decodes, samples and tiles in one thread and encodes in this one, as the worker does."""
    source = batches(files, grid_size, resolution)
    with ThreadPoolExecutor(1) as ahead:
        coming = ahead.submit(next, source, None)
        while (batch := coming.result()) is not None:
            coming = ahead.submit(next, source, None)
            encode(batch.pixels, batch.mask)


def batches(files: Sequence[Path], grid_size: int, resolution: int) -> Iterator[SuperImageBatch]:
    """Yield super images of all files, BATCH at a time."""
    images = (
        image for path in files for image in tile(sample_frames(path, FPS), grid_size, resolution)
    )
    while batch := list(islice(images, BATCH)):
        yield stack(batch)
