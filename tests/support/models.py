"""A random tiny CLIP and SigLIP with a real tokenizer, and exports: everything but meaning."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessor,
    SiglipModel,
)

from qasir.config import RetrieverParams
from qasir.manifest import Profile, ScoreFusion
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.export import export_model
from qasir.modeling.retriever import Retriever, untrained, zero_shot
from tests.support.shared import Shared

RESOLUTION = 64
DIM = 32
LONGEST = 24
WORDS = (
    *("a", "an", "the", "of", "on", "in", "and", "photo", "dog", "cat", "red", "green"),
    *("blue", "ball", "house", "car", "runs", "sits", "stands"),
)
# Different for every N, so that one taken for another shows.
BRANCHES = {
    n: ScoreFusion(super_image_weight=0.8 - 0.15 * n, super_image_tau=0.05, cell_tau=0.02 * n)
    for n in range(1, 5)
}
LEARNED = RetrieverParams(
    dim=16,
    layers=1,
    heads=2,
    dropout=0.1,
    image_adapter=True,
    text_adapter=True,
    temporal_encoder=True,
    grid_embedding=True,
)


def write_tokenizer(folder: Path) -> None:
    """A word-level tokenizer that wraps a text in CLIP's start and end tokens."""
    vocabulary = {word: i for i, word in enumerate(["[UNK]", "<s>", "</s>", "[PAD]", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", 1), ("</s>", 2)]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="[PAD]",
    )
    fast.save_pretrained(folder)


def tower_configs(patch_size: int) -> dict[str, dict[str, Any]]:
    """Text and vision towers of two layers, 32 wide."""
    both = {
        "hidden_size": DIM,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
    }
    text = {
        "vocab_size": 4 + len(WORDS),
        "max_position_embeddings": LONGEST,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 3,
        **both,
    }
    vision = {"image_size": RESOLUTION, "patch_size": patch_size, **both}
    return {"text_config": text, "vision_config": vision}


@pytest.fixture(scope="session")
def tiny_clip(shared: Shared) -> Path:
    """Folder of a random CLIPModel: D0 = 32, R = 64, 4 x 4 patches; load it as "hf:<folder>"."""

    def write(folder: Path) -> None:
        torch.manual_seed(0)
        CLIPModel(CLIPConfig(**tower_configs(16), projection_dim=DIM)).save_pretrained(folder)
        size, edge = {"height": RESOLUTION, "width": RESOLUTION}, {"shortest_edge": RESOLUTION}
        CLIPImageProcessor(size=edge, crop_size=size).save_pretrained(folder)
        write_tokenizer(folder)

    return shared("tiny-clip", write)


@pytest.fixture(scope="session")
def tiny_siglip(shared: Shared) -> Path:
    """Folder of a random SiglipModel: D0 = 32, R = 64, 8 x 8 patches; load it as "hf:<folder>"."""

    def write(folder: Path) -> None:
        torch.manual_seed(1)
        SiglipModel(SiglipConfig(**tower_configs(8))).save_pretrained(folder)
        size = {"height": RESOLUTION, "width": RESOLUTION}
        SiglipImageProcessor(size=size).save_pretrained(folder)
        write_tokenizer(folder)

    return shared("tiny-siglip", write)


@pytest.fixture(scope="session")
def tiny_backbone(tiny_clip: Path) -> Backbone:
    """The tiny CLIP, loaded."""
    return load_backbone(f"hf:{tiny_clip}")


@pytest.fixture(scope="session")
def tiny_siglip_backbone(tiny_siglip: Path) -> Backbone:
    """The tiny SigLIP, loaded."""
    return load_backbone(f"hf:{tiny_siglip}")


@pytest.fixture(scope="session")
def tiny_retriever(tiny_backbone: Backbone) -> Retriever:
    """A fine-tuned retriever of the tiny CLIP, D = 48; what it has learned is noise."""
    torch.manual_seed(2)
    retriever = untrained(tiny_backbone, LEARNED, sorted(BRANCHES))
    retriever.branches = dict(BRANCHES)
    retriever.set_residual_ratio(0.4)
    with torch.no_grad():
        for name, parameter in retriever.named_parameters():
            # Gates and biases start at zero, which would hide what is behind them.
            if not name.startswith("video.bridge."):
                parameter.add_(0.2 * torch.randn_like(parameter))
        familiarity = retriever.text.get_submodule("familiarity")
        familiarity.get_buffer("directions").copy_(torch.linalg.qr(torch.randn(DIM, 16)).Q)
        familiarity.get_buffer("edges").copy_(torch.tensor([0.2, 1.2]))
    return retriever.eval()


def write_export(
    backbone: Backbone, retriever: Retriever, folder: Path, name: str, grids: dict[int, int]
) -> Path:
    """An export at 1 fps whose profile indexes N = 2, in windows of 64 super images."""
    export_model(
        backbone,
        retriever,
        folder,
        name=name,
        variant="zero-shot" if retriever.params is None else "fine-tuned",
        grids=grids,
        fps=(1.0,),
        profile=Profile(grid_sizes=(2,), fps=1.0, index_unit="super-image"),
        window=64,
        window_overlap=0,
    )
    return folder


@pytest.fixture(scope="session")
def tiny_export(tiny_backbone: Backbone, shared: Shared) -> Path:
    """Folder of the tiny CLIP exported zero-shot for N = 1 and 2 at R = 64, 1 fps."""
    grids = {1: RESOLUTION, 2: RESOLUTION}
    retriever = zero_shot(tiny_backbone, BRANCHES)
    return shared("tiny-export", lambda f: write_export(tiny_backbone, retriever, f, "tiny", grids))


@pytest.fixture(scope="session")
def tuned_export(tiny_backbone: Backbone, tiny_retriever: Retriever, shared: Shared) -> Path:
    """Folder of the tiny CLIP exported fine-tuned for N = 1, 2 and 3."""
    grids = dict.fromkeys((1, 2, 3), RESOLUTION)

    def write(folder: Path) -> None:
        write_export(tiny_backbone, tiny_retriever, folder, "tuned", grids)

    return shared("tuned-export", write)


@pytest.fixture(scope="session")
def lite_backbone(shared: Shared) -> Backbone:
    """The offline backbone with its real weights; seven seconds the first time."""
    folder = shared("lite", lambda f: torch.save(load_backbone("lite"), f / "backbone.pt"))
    # Written by this very run, so it may hold any class.
    backbone: Backbone = torch.load(folder / "backbone.pt", weights_only=False)
    return backbone


@pytest.fixture(scope="session")
def lite_export(lite_backbone: Backbone, shared: Shared) -> Path:
    """Folder of `lite` exported zero-shot for N = 1 to 4, 1 fps."""
    grids = {1: 224, 2: 256, 3: 288, 4: 256}
    retriever = zero_shot(lite_backbone, BRANCHES)
    return shared("lite-export", lambda f: write_export(lite_backbone, retriever, f, "lite", grids))
