"""Multiply-accumulates of an image tower, counted while it runs, not guessed."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from qasir.modeling.backbones import Backbone


@torch.inference_mode()
def gmacs_per_image(backbone: Backbone, resolution: int, grid_size: int) -> float:
    """10^9 multiply-accumulates of one super image of side R with its N x N cells: convolutions
    and matrix products of the image tower, all that every super image of a video costs."""
    image = torch.zeros((1, resolution, resolution, 3), dtype=torch.uint8)
    mask = torch.ones((1, grid_size, grid_size), dtype=torch.bool)
    tower = backbone.image_tower.cpu()
    counter = FlopCounterMode(display=False)
    with counter:
        tower(image, mask)
    flops: int = counter.get_total_flops()
    return flops / 2 / 1e9
