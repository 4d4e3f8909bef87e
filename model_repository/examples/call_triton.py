"""Scores videos by a text with Triton's ensembles alone: no service, no qasir client.

    python model_repository/examples/call_triton.py "a dog runs" first.mp4 second.mp4

`match` takes super images and a text; `rank` takes a text and embeddings from `encode_video`.
Sampling, tiling and tokenising happen in qasir, before Triton, as in training.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import np_to_triton_dtype

from qasir.manifest import Manifest, read_manifest
from qasir.search import FoldedEmbeddings, pack
from qasir.super_images import SuperImageBatch, Window, tile, windows
from qasir.text import Tokenizer, Tokens
from qasir.types import Float16
from qasir.video import sample_frames

Arrays: TypeAlias = "dict[str, np.ndarray[Any, Any]]"

SCORES = ("scores", "attention", "cell_attention")


def ask(
    protocol: ModuleType, url: str, model: str, inputs: Arrays, outputs: Sequence[str]
) -> Arrays:
    """Run one inference; `protocol` is tritonclient.grpc or tritonclient.http."""
    tensors = []
    for name, array in inputs.items():
        tensor = protocol.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
        tensor.set_data_from_numpy(array)
        tensors.append(tensor)
    requested = [protocol.InferRequestedOutput(name) for name in outputs]
    with protocol.InferenceServerClient(url) as client:
        answer = client.infer(model, tensors, outputs=requested)
    return {name: answer.as_numpy(name) for name in outputs}


def windows_of(video: Path, manifest: Manifest) -> list[Window]:
    """Tile a video as the served profile does, in windows that the encoder takes."""
    grid_size = manifest.profile.grid_sizes[0]
    frames = sample_frames(video, manifest.profile.fps)
    images = tile(frames, grid_size, manifest.grids[grid_size])
    return list(windows(images, manifest.window, manifest.window_overlap))


def picture_inputs(batch: SuperImageBatch) -> Arrays:
    """Return a window as `encode_video` and `match` read it: uint8 [S, R, R, 3], bool [S, N, N]."""
    side = round(batch.mask.shape[1] ** 0.5)
    return {"super_images": batch.pixels, "mask": batch.mask.reshape(-1, side, side)}


def text_inputs(tokens: Tokens) -> Arrays:
    """Return tokens as int64 [Q, T] and their mask."""
    return {"input_ids": tokens.input_ids, "attention_mask": tokens.attention_mask}


def video_inputs(videos: Sequence[tuple[Float16, Float16]], grid_size: int) -> Arrays:
    """Pack C videos, each super images [S, D] and real cells [F, D], as `rank` reads them.

    This sends every embedding. For long videos `qasir.folding.scorer_input` sends the best few and
    one for the rest, with the same scores.
    """
    wholes, cells = (
        [
            FoldedEmbeddings(embeddings, np.zeros(len(embeddings), np.float32))
            for embeddings in branch
        ]
        for branch in zip(*videos, strict=True)
    )
    packed = pack(wholes, cells, slots=len(videos))
    return {
        "super_image_embeddings": packed.super_images[None],
        "log_weights": packed.log_weights[None],
        "cell_embeddings": packed.cells[None],
        "cell_log_weights": packed.cell_log_weights[None],
        "grid_size": np.full((1, 1), grid_size, np.int64),
    }


def encode(protocol: ModuleType, url: str, parts: Sequence[Window]) -> tuple[Float16, Float16]:
    """Encode a video to super images float16 [S, D] and real cells [F, D], by `encode_video`."""
    wholes, cells = [], []
    for window in parts:
        answer = ask(protocol, url, "encode_video", picture_inputs(window.batch), ["embeddings"])
        embeddings = answer["embeddings"][0, window.keep].astype(np.float16)
        wholes.append(embeddings[:, 0])
        cells.append(embeddings[:, 1:][window.batch.mask[window.keep]])
    return np.concatenate(wholes), np.concatenate(cells)


def main() -> None:
    parser = argparse.ArgumentParser(description="Score videos by a text with Triton alone.")
    parser.add_argument("text")
    parser.add_argument("videos", nargs="+", type=Path)
    parser.add_argument("--export", type=Path, default=Path("build/export"))
    parser.add_argument("--grpc", default="127.0.0.1:8001")
    parser.add_argument("--http", default="127.0.0.1:8000")
    arguments = parser.parse_args()
    manifest = read_manifest(arguments.export)
    tokenizer = Tokenizer.load(arguments.export, manifest.tokenizer)
    text = text_inputs(tokenizer.encode([arguments.text]))
    videos = [windows_of(path, manifest) for path in arguments.videos]
    for protocol, url in ((tritonclient.grpc, arguments.grpc), (tritonclient.http, arguments.http)):
        encoded = [encode(protocol, url, parts) for parts in videos]
        inputs = {**text, **video_inputs(encoded, manifest.profile.grid_sizes[0])}
        scores = ask(protocol, url, "rank", inputs, SCORES)["scores"][0]
        for path, parts, score in zip(arguments.videos, videos, scores, strict=True):
            inputs = {**picture_inputs(parts[0].batch), **text}
            match = ask(protocol, url, "match", inputs, SCORES)
            best = int(match["attention"][0, 0].argmax())
            print(  # noqa: T201  # what the example is for
                f"{protocol.__name__}  {path.name}  rank {score:.4f}  "
                f"match {match['scores'][0, 0]:.4f}  strongest super image {best}"
            )


if __name__ == "__main__":
    main()
