"""Which weights of an `hf:` backbone are trained, and the folder that they end up in.

last-blocks  the last transformer blocks of both towers and everything after them
lora         low-rank updates (Hu et al., arXiv 2106.09685) of every attention projection;
             merged into the weights at the end, so that nothing that serves knows of them

The towers are changed in place: what holds the backbone sees it trained.
"""

import re
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import nn
from transformers import AutoImageProcessor, AutoTokenizer

from qasir.config import BackboneTraining, Params, TuningParams
from qasir.errors import InvalidConfig, MissingExtra
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.backbones.hf import HuggingFace
from training.encode import FEATURES, encode, sampling_of
from training.prepare import DATASET, VIDEOS

# Beside the retriever that was trained with them.
BACKBONE_NAME = "backbone"
FEATURES_NAME = "features"

TOWERS = ("text_model", "vision_model")
BLOCK = re.compile(r"(?:text|vision)_model\.encoder\.layers\.(\d+)\.")
# Before the blocks, or a scale of a loss that is not ours.
NEVER_TRAINED = re.compile(r"\.embeddings\.|\.pre_layrnorm\.|^logit_(?:scale|bias)$")
PROJECTIONS = re.compile(
    r"(?:text|vision)_model\.encoder\.layers\.\d+\.self_attn\.(?:q|k|v|out)_proj"
)


class TunedBackbone:
    """A backbone whose chosen weights, and no others, take gradients."""

    def __init__(
        self, backbone: Backbone, training: BackboneTraining, params: TuningParams
    ) -> None:
        """Freeze the backbone, then free what `training` names.

        Raises:
            InvalidConfig: the backbone is no `hf:` one, or has fewer blocks than are asked for.
            MissingExtra: lora without the package peft.
        """
        self.backbone = backbone
        self.model = transformers_model(backbone, training)
        self.model.requires_grad_(False)
        self._adapter: Any = None
        if training == "lora":
            self._adapter = add_lora(self.model, params)
        else:
            free_last_blocks(self.model, params.blocks)

    def merge(self) -> None:
        """Fold low-rank updates into the weights they belong to; from here on nothing trains."""
        if self._adapter is not None:
            self._adapter.merge_and_unload()
            self._adapter = None
        self.model.requires_grad_(False)

    def save(self, folder: Path) -> None:
        """Write a folder that `hf:<folder>` loads: merged weights, tokenizer, image processor."""
        self.merge()
        source = self.backbone.name.removeprefix("hf:")
        self.model.save_pretrained(folder)
        AutoTokenizer.from_pretrained(source).save_pretrained(folder)
        AutoImageProcessor.from_pretrained(source, use_fast=False).save_pretrained(folder)


def finetuned_backbone(params: Params, folder: Path) -> Backbone:
    """The backbone that the retriever in `folder` stands on: its own where it was tuned.

    Raises:
        InvalidConfig: there is no such backbone.
    """
    if params.finetune.backbone == "frozen":
        return load_backbone(params.encode.backbone)
    return load_backbone(f"hf:{folder / BACKBONE_NAME}")


def finetuned_features(params: Params, folder: Path) -> Path:
    """Where the features of that backbone are, a folder per N."""
    return FEATURES if params.finetune.backbone == "frozen" else folder / FEATURES_NAME


def settle(tuned: TunedBackbone, params: Params, folder: Path, dataset: Path = DATASET) -> Backbone:
    """Save a backbone after training, load it as everything after it will, and encode the
    dataset with it: the features of the frozen one are of other weights.

    Of several processes the first alone writes.
    """
    machine = PartialState()
    if machine.is_main_process:
        tuned.save(folder / BACKBONE_NAME)
    # Not after encoding as well: the others would give up waiting long before that is over.
    machine.wait_for_everyone()
    backbone = finetuned_backbone(params, folder)
    if machine.is_main_process:
        videos = params.prepare.videos or VIDEOS
        for grid_size in sorted(params.grids):
            features = finetuned_features(params, folder) / str(grid_size)
            encode(backbone, sampling_of(params, grid_size), dataset, videos, features)
    return backbone


def transformers_model(backbone: Backbone, training: BackboneTraining) -> Any:
    """The model that both towers of an `hf:` backbone share.

    Raises:
        InvalidConfig: it is another backbone, or there is nothing to train.
    """
    if training == "frozen" or not isinstance(backbone, HuggingFace):
        raise InvalidConfig(
            f"finetune.backbone is '{training}' and the backbone '{backbone.name}': last-blocks "
            "and lora are for hf backbones; set finetune.backbone to frozen, or encode.backbone "
            "to hf:<name or folder>"
        )
    return backbone.text_tower.model


def free_last_blocks(model: nn.Module, count: int) -> None:
    """Let the last `count` blocks of each tower, and what follows them, take gradients.

    Raises:
        InvalidConfig: a tower has fewer blocks.
    """
    for tower in TOWERS:
        layers = model.get_submodule(f"{tower}.encoder.layers")
        total = sum(1 for _ in layers.children())
        if count > total:
            raise InvalidConfig(
                f"finetune.tuning.blocks is {count} and {tower} has {total}; use {total} or less"
            )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(_follows(model, name, count))


def _follows(model: nn.Module, name: str, count: int) -> bool:
    """Whether a parameter is in the last `count` blocks of its tower or after them."""
    if NEVER_TRAINED.search(name):
        return False
    block = BLOCK.match(name)
    if block is None:
        return True
    layers = model.get_submodule(f"{name.split('.')[0]}.encoder.layers")
    return int(block[1]) >= sum(1 for _ in layers.children()) - count


def add_lora(model: nn.Module, params: TuningParams) -> Any:
    """Put low-rank updates beside every attention projection; return what can merge them.

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
    # Names in full: a suffix would also catch the pooling head of SigLIP, whose attention
    # reads the weights of its projection and would pass an adapter by.
    targets = [name for name, _ in model.named_modules() if PROJECTIONS.fullmatch(name)]
    config = LoraConfig(
        r=params.rank,
        lora_alpha=params.alpha,  # type: ignore[arg-type]  # any number will do, int is only said
        lora_dropout=params.dropout,
        target_modules=targets,
        bias="none",
    )
    return LoraModel(model, config, "default")
