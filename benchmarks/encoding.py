"""Measures what super images save in the encoder alone: N^2 frames per image at equal R.

Each call returns vectors of super images and cells, so N = 1 does the same work per image.
"""

import numpy as np

from benchmarks.encoder import grid_mask, session
from benchmarks.rows import Row, interleaved, machine
from qasir.modeling.backbones import load_backbone
from qasir.modeling.export import image_graph

RESOLUTION = 224
FRAMES = 144
BATCH = 16
REPEATS = 5


def run() -> list[Row]:
    """Returns a row per N: seconds for FRAMES frames as super images and one by one."""
    images = session(image_graph(load_backbone("lite"), RESOLUTION))
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (FRAMES, RESOLUTION, RESOLUTION, 3), np.uint8)

    def encode(grid_size: int) -> None:
        mask = grid_mask(np.ones((FRAMES // grid_size**2, grid_size**2), np.bool_))
        for begin in range(0, len(mask), BATCH):
            part = mask[begin : begin + BATCH]
            window = pixels[begin : begin + len(part)]
            images.run(None, {"super_images": window, "mask": part})

    sizes = (1, 2, 3, 4)
    seconds = interleaved(REPEATS, *(lambda n=n: encode(n) for n in sizes))
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
