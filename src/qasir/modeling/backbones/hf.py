"""`hf:<name or folder>`: CLIP, SigLIP and similar models of transformers.

The patch tokens of the last layer are not aligned with text; only what the head reads from them
is. So cells take the same path as the head's own vector, which differs by family. Both paths are
EXPERIMENTAL zero-shot: no published weights were available to measure them. Tests check what
they compute, not how well it retrieves.

A reader takes pixels float32 [S, 3, R, R], normalised, and N; it returns super images [S, D0],
exactly the model's `get_image_features`, and cells [S, P, D0].
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from qasir.errors import InvalidConfig, InvalidInput
from qasir.manifest import TokenizerSpec
from qasir.modeling.cells import cell_shares, join_features, pool_cells
from qasir.text import TOKENIZER_NAME


class ImageTower(nn.Module):
    """Pixel normalisation, and the model's image features of super images and their cells."""

    mean: Tensor
    std: Tensor

    def __init__(self, reader: nn.Module, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self.reader = reader
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1) * 255.0)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1) * 255.0)

    def forward(self, super_images: Tensor, mask: Tensor) -> Tensor:
        """uint8 [S, R, R, 3], bool [S, N, N] -> features float32 [S, 1+P, D0]."""
        pixels = super_images.permute(0, 3, 1, 2).to(torch.float32)
        whole, cells = self.reader((pixels - self.mean) / self.std, mask.shape[1])
        return join_features(whole, cells, mask)


class Normalise(nn.Module):
    """The bridge of a model whose image features already are in text space."""

    def forward(self, features: Tensor) -> Tensor:
        """float32 [..., D0] -> float32 [..., D0], L2-normalised; zeros stay zeros."""
        return nn.functional.normalize(features, dim=-1)


class TextTower(nn.Module):
    """The model's text features, L2-normalised."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [Q, T] twice -> float32 [Q, D]."""
        features = self.model.get_text_features(input_ids=input_ids, attention_mask=attention_mask)
        # transformers 5 wraps them in an output object, 4 does not.
        pooled = features if isinstance(features, Tensor) else features.pooler_output
        return nn.functional.normalize(pooled, dim=-1)


class HuggingFace:
    """A dual encoder from the hub or a local folder."""

    def __init__(self, source: str) -> None:
        self.name = f"hf:{source}"
        self._tokenizer = _load(AutoTokenizer, source)
        model = _load(AutoModel, source, attn_implementation="eager").eval()
        reader = reader_of(model)
        processor = _load(AutoImageProcessor, source, use_fast=False)
        self.image_tower: nn.Module = ImageTower(reader, processor.image_mean, processor.image_std)
        self.bridge: nn.Module = Normalise()
        self.text_tower: nn.Module = TextTower(model)
        self._resolution = int(model.config.vision_config.image_size)
        self.tokenizer_spec = _tokenizer_spec(self._tokenizer, model.config)
        ids = torch.full((1, self.tokenizer_spec.buckets[0]), self.tokenizer_spec.pad_id)
        with torch.inference_mode():
            self.dim = int(self.text_tower(ids, torch.ones_like(ids)).shape[-1])
        self.feature_dim = self.dim

    def check_resolution(self, resolution: int) -> None:
        """Raise InvalidInput for any R but the one that has position embeddings."""
        if resolution != self._resolution:
            raise InvalidInput(
                f"resolution {resolution}: backbone '{self.name}' accepts only {self._resolution}; "
                f"set grids.'<N>'.resolution to {self._resolution}"
            )

    def save_tokenizer(self, folder: Path) -> None:
        self._tokenizer.backend_tokenizer.save(str(folder / TOKENIZER_NAME))


def _load(kind: Any, source: str, **options: Any) -> Any:
    try:
        return kind.from_pretrained(source, **options)
    except (OSError, ValueError, KeyError) as error:
        raise InvalidConfig(
            f"backbone 'hf:{source}' could not be loaded: {error}; give a folder that "
            "save_pretrained wrote, or a hub name if this machine can reach the hub"
        ) from error


def _tokenizer_spec(tokenizer: Any, config: Any) -> TokenizerSpec:
    longest = int(config.text_config.max_position_embeddings)
    # SigLIP was trained on texts padded to full length and supports no other.
    fixed = config.model_type.startswith("siglip")
    buckets = (longest,) if fixed else (*(b for b in (16, 32, 64) if b < longest), longest)
    pad_id = tokenizer.pad_token_id
    return TokenizerSpec(pad_id=0 if pad_id is None else int(pad_id), buckets=buckets)


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


class Reader(nn.Module):
    """What both families share: the model, and h = w of its patch grid."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model
        config = model.config.vision_config
        self.side = int(config.image_size) // int(config.patch_size)


class ClipReader(Reader):
    """CLIP: cells by the value path of the last attention block (MaskCLIP, arXiv 2112.01071).

    A patch passes its value through the output projection, as if it attended only to itself,
    then through post-layernorm and visual projection like the class token. Unlike MaskCLIP's
    code, this skips the residual and the MLP of that block, which carry the content of the whole
    picture and drown that of the patch (ClearCLIP, arXiv 2407.12442).
    """

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


class SiglipReader(Reader):
    """SigLIP: cells by the pooling head, with its attention restricted to the cell.

    The head's probe attends to the patches of each cell; a patch on an edge counts by its share
    in the cell. At N = 1 the one cell is the whole picture.
    """

    def forward(self, pixels: Tensor, grid_size: int) -> tuple[Tensor, Tensor]:
        output = self.model.vision_model(pixel_values=pixels)
        patches, head = output.last_hidden_state, self.model.vision_model.head
        shares = cell_shares(grid_size, self.side, self.side, patches)
        probes = head.probe.expand(patches.shape[0], shares.shape[0], -1)
        # softmax(logit + log share) is share x exp(logit), normalised; a share of 0 drops out.
        attended = head.attention(
            probes, patches, patches, attn_mask=shares.log(), need_weights=False
        )[0]
        return output.pooler_output, attended + head.mlp(head.layernorm(attended))
