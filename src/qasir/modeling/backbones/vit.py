"""Read super images and their cells with a vision transformer that has a text space.

The patch tokens of the last layer are not aligned with text; only what the head reads from them
is. So cells take the same path as the head's own vector, which differs by family. Both paths are
EXPERIMENTAL zero-shot: no published weights were available to measure them. Tests check what
they compute, not how well it retrieves.

A reader takes pixels float32 [S, 3, R, R], normalised, and N; it returns super images [S, D0],
exactly the model's `get_image_features`, and cells [S, P, D0].
"""

from typing import Any

from torch import Tensor, nn

from qasir.errors import InvalidConfig
from qasir.modeling.cells import cell_shares, pool_cells


def reader_of(model: Any) -> nn.Module:
    """Return the reader for a model's family.

    Raises:
        InvalidConfig: the model is not a dual encoder, or its vision tower is unknown.
    """
    vision = getattr(model, "vision_model", None)
    if hasattr(model, "get_text_features") and hasattr(vision, "encoder"):
        if hasattr(model, "visual_projection"):
            return ClipReader(model)
        if hasattr(vision, "head"):
            return SiglipReader(model)
    raise InvalidConfig(
        f"{type(model).__name__} is not a dual encoder with a known vision transformer; "
        "use a CLIP or SigLIP model"
    )


def places_a_side(model: Any) -> int:
    """Return h = w of the patch grid."""
    config = model.config.vision_config
    return int(config.image_size) // int(config.patch_size)


class ClipReader(nn.Module):
    """CLIP: cells by the value path of the last attention block (MaskCLIP, arXiv 2112.01071).

    A patch passes its value through the output projection, as if it attended only to itself,
    then through post-layernorm and visual projection like the class token. Unlike MaskCLIP's
    code, this skips the residual and the MLP of that block, which carry the content of the whole
    picture and drown that of the patch (ClearCLIP, arXiv 2407.12442).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.side = places_a_side(model)

    def forward(self, pixels: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
        vision = self.model.vision_model
        output = vision(pixel_values=pixels, output_hidden_states=True)
        # The input of the last block, without the class token.
        patches = output.hidden_states[-2][:, 1:]
        block = vision.encoder.layers[-1]
        values = block.self_attn.v_proj(block.layer_norm1(patches))
        places = vision.post_layernorm(block.self_attn.out_proj(values))
        cells = pool_cells(places, self.side, self.side, grid_size)
        project = self.model.visual_projection
        return project(output.pooler_output), project(cells)


class SiglipReader(nn.Module):
    """SigLIP: cells by the pooling head, with its attention restricted to the cell.

    The head's probe attends to the patches of each cell; a patch on an edge counts by its share
    in the cell. At N = 1 the one cell is the whole picture.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        self.side = places_a_side(model)

    def forward(self, pixels: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
        output = self.model.vision_model(pixel_values=pixels)
        return output.pooler_output, self._cells(output.last_hidden_state, grid_size)

    def _cells(self, patches: Tensor, grid_size: int) -> Tensor:
        """[S, h*w, D0] -> [S, P, D0]."""
        head = self.model.vision_model.head
        shares = cell_shares(grid_size, self.side, self.side, patches)
        probes = head.probe.expand(patches.shape[0], shares.shape[0], -1)
        # softmax(logit + log share) is share x exp(logit), normalised; a share of 0 drops out.
        attended = head.attention(
            probes, patches, patches, attn_mask=shares.log(), need_weights=False
        )[0]
        cells: Tensor = attended + head.mlp(head.layernorm(attended))
        return cells
