"""Encodes one split at one grid size with one retriever, so that it can be ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from qasir.config import EncodeParams
from qasir.manifest import EmbeddingSpec, Preprocessing, fingerprint
from qasir.modeling.backbones import tensors_digest
from qasir.modeling.retriever import Retriever
from qasir.super_images import window_spans
from qasir.types import Float16, Float32, Int64
from qasir.vectors import VideoVectors
from training.data.dataset import Query, Split
from training.evaluate.corpus import FeatureSet, Texts
from training.evaluate.measures import rank_queries
from training.evaluate.pools import Filler, Pool, natural, shuffle_into_blocks
from training.evaluate.scores import Setting

# Which super images share a block is no parameter: pools are drawn with `evaluate.seed`.
FILLER_SEED = 0


@dataclass(frozen=True)
class EvalSplit:
    """Queries and videos of a split at one grid size.

    query_vectors: float32 [Q, D]; filler: super images of train, which lengthen videos; None if
    the dataset has no train split.
    """

    grid_size: int
    queries: Sequence[Query]
    query_vectors: Float32
    videos: Mapping[str, VideoVectors]
    filler: Filler | None

    def rank(self, pool: Pool, settings: Sequence[Setting]) -> list[Int64]:
        """Returns ranks [Q] in a pool for every setting."""
        return rank_queries(self.queries, self.query_vectors, pool, settings)

    @property
    def super_images_per_video(self) -> float:
        """Returns the mean of S: the encodings that a video costs."""
        return float(np.mean([len(video.mask) for video in self.videos.values()]))

    @property
    def natural(self) -> Pool:
        """Returns the pool of the unchanged videos."""
        return natural(self.videos)


def encode_split(
    retriever: Retriever,
    features: FeatureSet,
    texts: Texts,
    params: EncodeParams,
    split: Split,
    *,
    filler: bool,
) -> EvalSplit:
    """Encodes one split of a feature set; without `filler` its videos cannot be lengthened."""
    weights = tensors_digest(retriever.state_dict())

    def encode(video: VideoVectors) -> VideoVectors:
        spec = _spec(video.spec, weights, retriever.dim, params.window)
        return encode_video(retriever, video, params.window, params.window_overlap, spec)

    train = features.splits["train"].values() if filler else ()
    return EvalSplit(
        features.grid_size,
        texts.subsets[split].queries,
        encode_queries(retriever, texts.vectors[split]),
        {i: encode(video) for i, video in features.splits[split].items()},
        shuffle_into_blocks([encode(video) for video in train], FILLER_SEED),
    )


def _spec(features: EmbeddingSpec, weights: str, dim: int, window: int) -> EmbeddingSpec:
    """Returns a spec of its own for each retriever, so that no index mixes two of them."""
    made_by = fingerprint(features.fingerprint + weights, Preprocessing(), dim, window)
    return features.model_copy(update={"fingerprint": made_by})


def encode_video(
    retriever: Retriever, features: VideoVectors, window: int, overlap: int, spec: EmbeddingSpec
) -> VideoVectors:
    """Encodes the features of one video, in the windows that the service uses."""
    parts: list[Float16] = []
    for span in window_spans(len(features.mask), window, overlap):
        encoded = _encode_window(retriever, features, slice(span.begin, span.end))
        parts.append(encoded[span.keep])
    return VideoVectors(spec, np.concatenate(parts), features.mask, features.times)


@torch.inference_mode()
def _encode_window(retriever: Retriever, video: VideoVectors, rows: slice) -> Float16:
    """Encodes super images `rows` as one window: float16 [S', 1+P, D]."""
    side = video.spec.grid_size
    features = torch.from_numpy(video.embeddings[rows].astype(np.float32))
    mask = torch.from_numpy(video.mask[rows]).view(-1, side, side)
    device = device_of(retriever)
    encoded = retriever.eval().video(features[None].to(device), mask[None].to(device))[0]
    result: Float16 = encoded.cpu().numpy().astype(np.float16)
    return result


@torch.inference_mode()
def encode_queries(retriever: Retriever, vectors: Float32) -> Float32:
    """Encodes zero-shot query vectors q0 float32 [Q, D0] to queries float32 [Q, D]."""
    inputs = torch.from_numpy(vectors).to(device_of(retriever))
    queries: Float32 = retriever.eval().text(inputs).cpu().numpy()
    return queries


def device_of(retriever: Retriever) -> torch.device:
    """Returns the device of the retriever's tensors; one without tensors runs on the CPU."""
    tensors = (*retriever.parameters(), *retriever.buffers())
    return tensors[0].device if tensors else torch.device("cpu")
