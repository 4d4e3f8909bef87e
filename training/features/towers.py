"""Runs a backbone's towers over many inputs, on the fastest device of the machine.

With CUDA torch runs on it. On a CPU ONNX Runtime is about four times as fast as torch; it runs
the graph that `export` writes.
"""

from collections.abc import Callable, Sequence
from math import isqrt
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnxruntime
import torch

from qasir.modeling.backbones import Backbone
from qasir.modeling.export import image_graph
from qasir.text import Tokenizer
from qasir.types import Bool, Float32, Uint8

ImageTower = Callable[[Uint8, Bool], Float32]

TEXT_BATCH = 64


def open_image_tower(backbone: Backbone, resolution: int) -> ImageTower:
    """Returns a function from super images uint8 [S, R, R, 3] and their mask bool [S, P] to
    features float32 [S, 1+P, F'].

    Raises:
        InvalidInput: the backbone does not read this R.
    """
    backbone.check_resolution(resolution)
    if torch.cuda.is_available():
        tower = backbone.image_tower.cuda()

        @torch.inference_mode()
        def encode_on_gpu(pixels: Uint8, mask: Bool) -> Float32:
            cells = torch.from_numpy(_square(mask)).cuda()
            features: Float32 = tower(torch.from_numpy(pixels).cuda(), cells).float().cpu().numpy()
            return features

        return encode_on_gpu
    graph = image_graph(backbone, resolution)
    with TemporaryDirectory() as folder:
        graph.write(Path(folder))
        session = open_session(Path(folder) / f"{graph.name}.onnx")

    def encode(pixels: Uint8, mask: Bool) -> Float32:
        inputs = {"super_images": pixels, "mask": _square(mask)}
        features: Float32 = session.run(["features"], inputs)[0]
        return features

    return encode


def _square(mask: Bool) -> Bool:
    """bool [S, P] -> bool [S, N, N]."""
    side = isqrt(mask.shape[1])
    return mask.reshape(-1, side, side)


def open_session(path: Path) -> "onnxruntime.InferenceSession":
    """Opens an ONNX Runtime session that does not spin, so the decoder gets the cores."""
    options = onnxruntime.SessionOptions()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def tokenizer_of(backbone: Backbone) -> Tokenizer:
    """Returns the tokenizer that an export of this backbone contains."""
    with TemporaryDirectory() as folder:
        backbone.save_tokenizer(Path(folder))
        return Tokenizer.load(Path(folder), backbone.tokenizer_spec)


@torch.inference_mode()
def encode_texts(backbone: Backbone, texts: Sequence[str]) -> Float32:
    """Encodes Q texts to zero-shot unit vectors float32 [Q, D0], the input of a text adapter."""
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
