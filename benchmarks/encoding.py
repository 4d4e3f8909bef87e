"""What super images save in the encoder alone: the same frames at equal R, N^2 to a picture."""

from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime

from benchmarks.rows import Row, interleaved, machine
from qasir.modeling.backbones import load_backbone
from qasir.modeling.export import image_graph

RESOLUTION = 224
FRAMES = 144
BATCH = 16
REPEATS = 5


def run() -> list[Row]:
    """A row per N: seconds for FRAMES frames as super images, and one by one; target N^2."""
    with TemporaryDirectory() as folder:
        image_graph(load_backbone("lite"), RESOLUTION).write(Path(folder))
        session = onnxruntime.InferenceSession(Path(folder) / "super_image_encoder.onnx")
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (FRAMES, RESOLUTION, RESOLUTION, 3), np.uint8)

    def encode(count: int) -> None:
        for begin in range(0, count, BATCH):
            session.run(None, {"super_images": pixels[begin : min(begin + BATCH, count)]})

    sizes = (1, 2, 3, 4)
    seconds = interleaved(REPEATS, *(lambda n=n: encode(FRAMES // n**2) for n in sizes))
    return [
        Row(
            f"encoding speed-up at N = {n}",
            taken,
            "s",
            seconds[0],
            seconds[0] / taken,
            {"backbone": "lite", "frames": FRAMES, "resolution": RESOLUTION, **machine()},
        )
        for n, taken in zip(sizes[1:], seconds[1:], strict=True)
    ]
