"""A retriever applied to cached features and query vectors: what an index would hold."""

import numpy as np
import torch

from qasir.manifest import EmbeddingSpec
from qasir.modeling.retriever import Retriever
from qasir.super_images import window_spans
from qasir.types import Float16, Float32
from qasir.vectors import VideoVectors
from training.features import VideoFeatures


def encode_units(
    retriever: Retriever, video: VideoFeatures, window: int, overlap: int, spec: EmbeddingSpec
) -> VideoVectors:
    """Units of one video, by the windows in which a service encodes it."""
    parts: list[Float16] = []
    for span in window_spans(len(video), window, overlap):
        units = _encode_window(retriever, video, slice(span.begin, span.end))
        parts.append(units[span.keep])
    return VideoVectors(spec, np.concatenate(parts), video.mask, video.times)


@torch.inference_mode()
def _encode_window(retriever: Retriever, video: VideoFeatures, rows: slice) -> Float16:
    """float16 [S', 1+P, D] of super images `rows`, encoded as one window."""
    side = video.spec.grid_size
    features = torch.from_numpy(video.features[rows].astype(np.float32))
    mask = torch.from_numpy(video.mask[rows]).view(-1, side, side)
    device = device_of(retriever)
    units = retriever.eval().video(features[None].to(device), mask[None].to(device))[0]
    result: Float16 = units.cpu().numpy().astype(np.float16)
    return result


@torch.inference_mode()
def encode_queries(retriever: Retriever, vectors: Float32) -> Float32:
    """Queries float32 [Q, D] of zero-shot query vectors q0 float32 [Q, D0]."""
    inputs = torch.from_numpy(vectors).to(device_of(retriever))
    queries: Float32 = retriever.eval().text(inputs).cpu().numpy()
    return queries


def device_of(retriever: Retriever) -> torch.device:
    """Where its tensors are; one without any runs on the host."""
    tensors = (*retriever.parameters(), *retriever.buffers())
    return tensors[0].device if tensors else torch.device("cpu")
