"""Dual encoders behind one small protocol; a new one takes one file and one line here.

`lite` and `lite2` need only Python packages; `hf:<name or folder>` loads a CLIP or SigLIP with
`transformers`.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from torch import Tensor, nn

from qasir.errors import InvalidConfig, MissingExtra
from qasir.manifest import TokenizerSpec

OFFLINE = ("lite", "lite2")


class Backbone(Protocol):
    """An image tower and a text tower that share one space through a bridge.

    image_tower: super images uint8 [S, R, R, 3] RGB, mask bool [S, N, N] -> features float32
    [S, 1+P, F']: row 0 the whole picture, row 1+p its cell p, zeros where padded; pixel
    normalisation is inside. bridge: features [..., F'] -> zero-shot vectors [..., D0],
    L2-normalised. text_tower: int64 input_ids [Q, T], int64 attention_mask [Q, T] -> float32
    [Q, D0], L2-normalised. feature_dim is F', dim is D0.
    """

    name: str
    dim: int
    feature_dim: int
    image_tower: nn.Module
    tokenizer_spec: TokenizerSpec

    @property
    def bridge(self) -> nn.Module: ...

    @property
    def text_tower(self) -> nn.Module: ...

    def check_resolution(self, resolution: int) -> None:
        """Raise InvalidInput unless the image tower accepts R = `resolution`."""

    def save_tokenizer(self, folder: Path) -> None:
        """Write `tokenizer.json` for `qasir.text.Tokenizer`."""


def silence_transformers() -> None:
    """Hide the load reports and progress bars of transformers."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def weights_digest(backbone: Backbone) -> str:
    """Return the hex SHA-256 over parameters and buffers of towers and bridge, with names."""
    parts = (backbone.image_tower, backbone.bridge, backbone.text_tower)
    return tensors_digest(*(part.state_dict() for part in parts))


def tensors_digest(*states: Mapping[str, Tensor]) -> str:
    """Return the hex SHA-256 over names, shapes, types and values of tensors."""
    digest = hashlib.sha256()
    for state in states:
        for name, tensor in sorted(state.items()):
            digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def load_backbone(name: str) -> Backbone:
    """Load the backbone `lite`, `lite2`, or `hf:<hub name or local folder>`.

    Raises:
        InvalidConfig: the name is unknown, or the folder holds no backbone.
        MissingExtra: the package with its weights is not installed.
    """
    prefix, _, source = name.partition(":")
    if name in OFFLINE:
        try:
            from qasir.modeling.backbones.lite import Lite

            return Lite(name)
        except ModuleNotFoundError as error:
            raise MissingExtra(
                f"backbone '{name}' needs the package {error.name}; "
                "run: pip install --no-deps -r packages.txt"
            ) from error
    if prefix == "hf" and source:
        from qasir.modeling.backbones.hf import HuggingFace

        silence_transformers()
        return HuggingFace(source)
    raise InvalidConfig(
        f"backbone '{name}' is unknown; use one of {', '.join(OFFLINE)} or 'hf:<name or folder>', "
        "for example 'hf:openai/clip-vit-base-patch32'"
    )
