"""One split at one grid size through one retriever, ready to be ranked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from qasir.config import EncodeParams
from qasir.manifest import EmbeddingSpec, Preprocessing, fingerprint
from qasir.modeling.backbones import tensors_digest
from qasir.modeling.retriever import Retriever
from qasir.types import Float32, Int64
from qasir.vectors import VideoVectors
from training.apply import encode_queries, encode_units
from training.corpus import FeatureSet, Texts
from training.dataset import Query, Split
from training.features import VideoFeatures
from training.measures import rank_queries
from training.pools import Filler, Pool, deal, natural
from training.scores import Setting

# Which super images share a block is no parameter: pools are drawn with `evaluate.seed`.
FILLER_SEED = 0


@dataclass(frozen=True)
class Part:
    """Queries and videos of a split at one grid size.

    query_vectors: float32 [Q, D]; filler: super images of train, which lengthen videos, None
    where the dataset has no train split.
    """

    grid_size: int
    queries: Sequence[Query]
    query_vectors: Float32
    videos: Mapping[str, VideoVectors]
    filler: Filler | None

    def rank(self, pool: Pool, settings: Sequence[Setting]) -> list[Int64]:
        """Ranks [Q] of every setting in a pool."""
        return rank_queries(self.queries, self.query_vectors, pool, settings)

    @property
    def super_images_per_video(self) -> float:
        """The mean of S."""
        return float(np.mean([len(video.mask) for video in self.videos.values()]))

    @property
    def natural(self) -> Pool:
        """The videos as they are."""
        return natural(self.videos)


def part_of(
    retriever: Retriever,
    features: FeatureSet,
    texts: Texts,
    params: EncodeParams,
    split: Split,
    *,
    filler: bool,
) -> Part:
    """One split of a feature set; without `filler` no video of it can be lengthened."""
    weights = tensors_digest(retriever.state_dict())

    def encode(video: VideoFeatures) -> VideoVectors:
        spec = _spec(video.spec, weights, retriever.dim, params.window)
        return encode_units(retriever, video, params.window, params.window_overlap, spec)

    train = features.splits["train"].values() if filler else ()
    return Part(
        features.grid_size,
        texts.subsets[split].queries,
        encode_queries(retriever, texts.vectors[split]),
        {i: encode(video) for i, video in features.splits[split].items()},
        deal([encode(video) for video in train], FILLER_SEED),
    )


def _spec(features: EmbeddingSpec, weights: str, dim: int, window: int) -> EmbeddingSpec:
    """Units of two retrievers never meet in one index, here as little as in the service."""
    made_by = fingerprint(features.fingerprint + weights, Preprocessing(), dim, window)
    return features.model_copy(update={"fingerprint": made_by})
