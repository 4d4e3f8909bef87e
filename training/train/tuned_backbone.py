"""Selects the weights of an `hf:` backbone that are trained, and saves them afterwards.

last-blocks  trains the last transformer blocks of both towers and everything after them
lora         trains low-rank updates (Hu et al., arXiv 2106.09685) of every attention projection;
             they are merged into the weights at the end, so serving needs no change

The towers are changed in place, so every holder of the backbone sees the trained weights.
"""

import re
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer

from qasir.config import BackboneTraining, Params, TuningParams
from qasir.errors import InvalidConfig, MissingExtra
from qasir.modeling.backbones import Backbone
from qasir.modeling.backbones.hf import HuggingFace
from training.features.encode import encode, sampling_of
from training.outputs import (
    BACKBONE_NAME,
    DATASET,
    finetuned_backbone,
    finetuned_features,
    videos_folder,
)

BLOCK = re.compile(r"(text_model|vision_model)\.encoder\.layers\.(\d+)\.")
# Layers before the blocks, and the scale of a loss that we do not use.
NEVER_TRAINED = re.compile(r"\.embeddings\.|\.pre_layrnorm\.|^logit_(?:scale|bias)$")
PROJECTIONS = re.compile(
    r"(?:text|vision)_model\.encoder\.layers\.\d+\.self_attn\.(?:q|k|v|out)_proj"
)


class TunedBackbone:
    """A backbone of which only the chosen weights take gradients."""

    def __init__(
        self, backbone: Backbone, training: BackboneTraining, params: TuningParams
    ) -> None:
        """Freezes the backbone, then unfreezes the weights that `training` names.

        Raises:
            InvalidConfig: the backbone is not an `hf:` one, or has too few blocks.
            MissingExtra: lora needs the package peft.
        """
        if training == "frozen" or not isinstance(backbone, HuggingFace):
            raise InvalidConfig(
                f"finetune.backbone is '{training}' and the backbone '{backbone.name}', but "
                "last-blocks and lora need an hf backbone; set finetune.backbone to frozen, or "
                "encode.backbone to hf:<name or folder>"
            )
        self.backbone: Backbone = backbone
        model: Any = backbone.text_tower.model
        self.model = model
        self.model.requires_grad_(False)
        self._adapter: Any = None
        if training == "lora":
            self._adapter = add_lora(self.model, params)
        else:
            free_last_blocks(self.model, params.blocks)

    def merge(self) -> None:
        """Merges low-rank updates into their weights and freezes everything."""
        if self._adapter is not None:
            self._adapter.merge_and_unload()
            self._adapter = None
        self.model.requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Writes a folder that `hf:<folder>` loads: merged weights, tokenizer, image processor."""
        self.merge()
        source = self.backbone.name.removeprefix("hf:")
        self.model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        AutoImageProcessor.from_pretrained(source, use_fast=False).save_pretrained(folder)


def finalize_backbone(
    tuned: TunedBackbone, params: Params, folder: Path, dataset: Path = DATASET
) -> Backbone:
    """Saves a trained backbone, loads it again, and encodes the dataset with its new weights.

    Of several processes only the first one writes.
    """
    machine = PartialState()
    if machine.is_main_process:
        tuned.save(folder / BACKBONE_NAME)
    # Before encoding: the other processes would time out while waiting for it.
    machine.wait_for_everyone()
    backbone = finetuned_backbone(params, folder)
    if machine.is_main_process:
        features = finetuned_features(params, folder)
        folders = {sampling_of(params, n): features / str(n) for n in sorted(params.grids)}
        encode(backbone, folders, dataset, videos_folder(params))
    return backbone


def free_last_blocks(model: nn.Module, count: int) -> None:
    """Unfreezes the last `count` blocks of each tower and everything after them.

    Raises:
        InvalidConfig: a tower has fewer blocks.
    """
    first: dict[str, int] = {}
    for tower in ("text_model", "vision_model"):
        total = len(list(model.get_submodule(f"{tower}.encoder.layers").children()))
        if count > total:
            raise InvalidConfig(
                f"finetune.tuning.blocks is {count} and {tower} has {total}; use {total} or less"
            )
        first[tower] = total - count
    for name, parameter in model.named_parameters():
        block = BLOCK.match(name)
        is_late = block is None or int(block[2]) >= first[block[1]]
        parameter.requires_grad_(is_late and not NEVER_TRAINED.search(name))


def add_lora(model: nn.Module, params: TuningParams) -> Any:
    """Adds low-rank updates to every attention projection; returns the model that merges them.

    Raises:
        MissingExtra: the package peft is not installed.
    """
    try:
        from peft import LoraConfig
        from peft.tuners.lora import LoraModel
    except ModuleNotFoundError as error:
        raise MissingExtra(
            "finetune.backbone: lora needs the package peft; run: pip install 'qasir[training]'"
        ) from error
    # Full names: a suffix would also match the pooling head of SigLIP, whose attention reads the
    # weights of its projection and would bypass an adapter.
    targets = [name for name, _ in model.named_modules() if PROJECTIONS.fullmatch(name)]
    config = LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,  # type: ignore[arg-type]  # any number works, despite int
        lora_dropout=params.dropout,
        target_modules=targets,
        bias="none",
    )
    return LoraModel(model, config, "default")
