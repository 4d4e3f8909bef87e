"""Run a backbone's towers over many inputs, the fastest way this machine has.

ONNX Runtime is about four times torch on a CPU, through the very graph that export
writes; where CUDA is there, torch itself runs on it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch

from qasir.modeling.backbones import Backbone
from qasir.modeling.export import image_graph
from qasir.text import Tokenizer
from qasir.types import Float32, Uint8

ImageTower = Callable[[Uint8], Float32]

TEXT_BATCH = 64


def open_image_tower(backbone: Backbone, resolution: int) -> ImageTower:
    """A function from super images uint8 [S, R, R, 3] to unit vectors float32 [S, D].

    Raises:
        InvalidInput: the backbone does not read this R.
    """
    backbone.check_resolution(resolution)
    if torch.cuda.is_available():
        return _torch_tower(backbone)
    return _onnx_tower(backbone, resolution)


def _torch_tower(backbone: Backbone) -> ImageTower:
    tower = backbone.image_tower.cuda()

    @torch.inference_mode()
    def encode(pixels: Uint8) -> Float32:
        vectors: Float32 = tower(torch.from_numpy(pixels).cuda()).float().cpu().numpy()
        return vectors

    return encode


def _onnx_tower(backbone: Backbone, resolution: int) -> ImageTower:
    graph = image_graph(backbone, resolution)
    with TemporaryDirectory() as folder:
        graph.write(Path(folder))
        session = open_session(Path(folder) / f"{graph.name}.onnx")

    def encode(pixels: Uint8) -> Float32:
        vectors: Float32 = session.run(["vectors"], {"super_images": pixels})[0]
        return vectors

    return encode


def open_session(path: Path) -> "onnxruntime.InferenceSession":
    """An ONNX Runtime session that leaves the cores to the decoder while it waits."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def tokenizer_of(backbone: Backbone) -> Tokenizer:
    """The tokenizer that an export of this backbone would carry."""
    with TemporaryDirectory() as folder:
        backbone.save_tokenizer(Path(folder))
        return Tokenizer.load(Path(folder), backbone.tokenizer_spec)


@torch.inference_mode()
def encode_texts(backbone: Backbone, texts: Sequence[str]) -> Float32:
    """Unit vectors float32 [Q, D] of Q texts."""
    tokenizer = tokenizer_of(backbone)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    tower = backbone.text_tower.to(device)
    parts: list[Float32] = [np.empty((0, backbone.dim), np.float32)]
    for first in range(0, len(texts), TEXT_BATCH):
        tokens = tokenizer.encode(texts[first : first + TEXT_BATCH])
        ids = torch.from_numpy(tokens.input_ids).to(device)
        mask = torch.from_numpy(tokens.attention_mask).to(device)
        parts.append(tower(ids, mask).float().cpu().numpy())
    return np.concatenate(parts)
