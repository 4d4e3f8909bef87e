"""`hf:<name or folder>`: CLIP, SigLIP and similar models of transformers."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

from qasir.errors import InvalidConfig, InvalidInput
from qasir.manifest import TokenizerSpec
from qasir.modeling.backbones.vit import reader_of
from qasir.modeling.cells import join_features
from qasir.text import TOKENIZER_NAME


def pooled(output: Any) -> Tensor:
    """Return the features of an output object (transformers 5) or of a plain tensor (4)."""
    result: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return result


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
        return nn.functional.normalize(pooled(features), dim=-1)


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
        self.dim = self.feature_dim = _dim(self.text_tower, self.tokenizer_spec)

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


@torch.inference_mode()
def _dim(text_tower: nn.Module, spec: TokenizerSpec) -> int:
    ids = torch.full((1, spec.buckets[0]), spec.pad_id, dtype=torch.int64)
    return int(text_tower(ids, torch.ones_like(ids)).shape[-1])
