"""EfficientNet-Lite (Tan & Le, arXiv 1905.11946, Lite variant: ReLU6, no squeeze-excite).

Parameter names follow the published checkpoints, so `load_state_dict` is strict. The
classifier is not part of the network.
"""

import torch
from torch import Tensor, nn

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


def same_padding(kernel: int, stride: int) -> nn.Module:
    """Pad as TensorFlow's SAME, with which the checkpoints were trained: at stride 2 and an even
    side, the odd pixel goes right and below. Symmetric padding costs a quarter of R@5."""
    if stride == 1:
        return nn.ZeroPad2d(kernel // 2)
    before = (kernel - stride) // 2
    after = kernel - stride - before
    return nn.ZeroPad2d((before, after, before, after))


def batch_norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=1e-3)


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
    """The network without its classifier.

    width, depth: factors for channels and repeats (Lite0: 1, 1; Lite2: 1.1, 1.2).
    """

    def __init__(self, width: float = 1.0, depth: float = 1.0) -> None:
        super().__init__()
        self.pad = same_padding(3, 2)
        self._conv_stem = nn.Conv2d(3, 32, 3, 2, bias=False)
        self._bn0 = batch_norm(32)
        self._blocks = nn.ModuleList(_blocks(width, depth))
        self._conv_head = nn.Conv2d(_last_channels(width), FEATURES, 1, bias=False)
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


def _last_channels(width: float) -> int:
    return round_channels(STAGES[-1][-1] * width)


def _blocks(width: float, depth: float) -> list[Block]:
    """Build the stages; in the Lite family the first and last one keep their depth."""
    blocks, inputs = [], 32
    for number, (repeats, kernel, stride, expansion, channels) in enumerate(STAGES):
        outputs = round_channels(channels * width)
        fixed = number in (0, len(STAGES) - 1)
        count = repeats if fixed else int(torch.ceil(torch.tensor(repeats * depth)).item())
        for position in range(count):
            blocks.append(Block(inputs, outputs, kernel, stride if position == 0 else 1, expansion))
            inputs = outputs
    return blocks
