"""Multiply-accumulates of an image tower, counted while it runs, not guessed."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from qasir.modeling.backbones import Backbone


@torch.inference_mode()
def gmacs_per_image(backbone: Backbone, resolution: int) -> float:
    """10^9 multiply-accumulates of one super image of side R: convolutions and matrix products."""
    image = torch.zeros((1, resolution, resolution, 3), dtype=torch.uint8)
    tower = backbone.image_tower.cpu()
    counter = FlopCounterMode(display=False)
    with counter:
        tower(image)
    flops: int = counter.get_total_flops()
    return flops / 2 / 1e9
