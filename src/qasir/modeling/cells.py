"""Cell-aware super images: one vector per cell from the forward pass of a whole super image.

The last feature map (CNN) or the patch tokens (ViT) still separate the frames, so a cell is the
mean of the places under it, weighted by the area that they share. N is read from the mask and
h, w from the map, so one traced graph serves every grid size and resolution.

    h = 3 places a side, N = 2 cells a side          places  |  0  |  1  |  2  |
    shares of the first row of cells: 2/3 1/3 0      cells   |    0   |   1    |
"""

import torch
from torch import Tensor


def side_shares(grid_size: int, places: int, like: Tensor) -> Tensor:
    """Return the share of each of N cells that lies over each of h places along a side, [N, h].

    Rows sum to 1; dtype and device are those of `like`.

    >>> side_shares(2, 3, torch.zeros(1))
    tensor([[0.6667, 0.3333, 0.0000],
            [0.0000, 0.3333, 0.6667]])
    """
    cell = torch.arange(grid_size, device=like.device).unsqueeze(1)
    place = torch.arange(places, device=like.device).unsqueeze(0)
    # Measured in 1 / (N h) of the side, every edge is an integer: nothing is rounded.
    begin = torch.maximum(cell * places, place * grid_size)
    end = torch.minimum((cell + 1) * places, (place + 1) * grid_size)
    shared: Tensor = (end - begin).clamp(min=0).to(like.dtype) / places
    return shared


def cell_shares(grid_size: int, height: int, width: int, like: Tensor) -> Tensor:
    """Return the share of each cell over each place of an h x w map, [P, h*w], both row-major."""
    rows = side_shares(grid_size, height, like)
    columns = side_shares(grid_size, width, like)
    # One matrix instead of its two factors: ONNX Runtime multiplies by it five times as fast,
    # because it runs the many small products of the factors one by one.
    joined: Tensor = rows[:, None, :, None] * columns[None, :, None, :]
    return joined.flatten(2).flatten(0, 1)


def pool_cells(places: Tensor, height: int, width: int, grid_size: int) -> Tensor:
    """Average the places [S, h*w, F'] of a map into cells [S, P, F']."""
    return cell_shares(grid_size, height, width, places) @ places


def join_features(whole: Tensor, cells: Tensor, mask: Tensor) -> Tensor:
    """Join super images [S, F'] and their cells [S, P, F'] to features [S, 1+P, F'].

    Cells that the mask, bool [S, N, N], marks as padded become zeros.
    """
    real = cells * mask.flatten(1).unsqueeze(-1)
    return torch.cat([whole.unsqueeze(1), real], dim=1)
