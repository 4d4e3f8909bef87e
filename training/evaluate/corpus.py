"""Reads what models of one backbone are measured on, and encodes a split with one retriever."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from qasir.config import EncodeParams
from qasir.errors import InvalidInput
from qasir.manifest import EmbeddingSpec, Preprocessing, fingerprint
from qasir.modeling.backbones import Backbone, tensors_digest
from qasir.modeling.retriever import Retriever
from qasir.super_images import window_spans
from qasir.types import Float16, Float32, Int64
from qasir.vectors import VideoVectors, take
from training.data.dataset import SPLITS, Query, Split, Subset, read_split
from training.evaluate.measures import rank_scores
from training.evaluate.scores import (
    Filler,
    Pool,
    Setting,
    natural,
    score_pool,
    shuffle_into_blocks,
)
from training.features.cache import read_cache
from training.features.towers import encode_texts

# Train super images kept to lengthen other videos: enough that two videos of the longest pool
# share few, and bounded for a train split of any size.
FILLER_SUPER_IMAGES = 10_000
# Which super images share a block is no parameter: pools are drawn with `evaluate.seed`.
FILLER_SEED = 0


@dataclass(frozen=True)
class Texts:
    """The splits of a dataset, and their queries encoded by the text tower.

    vectors: zero-shot query vectors q0 float32 [Q, D0] of each split.
    """

    subsets: Mapping[Split, Subset]
    vectors: Mapping[Split, Float32]


@dataclass(frozen=True)
class FeatureSet:
    """Features by video id at one N, R and fps.

    splits: all of val and test, and enough of train to lengthen other videos.
    """

    grid_size: int
    splits: Mapping[Split, Mapping[str, VideoVectors]]


@dataclass(frozen=True)
class Corpus:
    """Texts, and by N the features and the GMACs of one encoding."""

    texts: Texts
    features: Mapping[int, FeatureSet]
    gmacs: Mapping[int, float]


def read_texts(dataset: Path, backbone: Backbone) -> Texts:
    """Reads all splits and encodes the queries of val and test; train is never queried."""
    subsets = {split: read_split(dataset, split) for split in SPLITS}
    queried: tuple[Split, ...] = ("val", "test")
    vectors = {s: encode_texts(backbone, [q.text for q in subsets[s].queries]) for s in queried}
    return Texts(subsets, vectors)


def read_feature_set(folder: Path, grid_size: int, subsets: Mapping[Split, Subset]) -> FeatureSet:
    """Reads one folder of stage `encode`.

    Raises:
        InvalidInput: val or test has queries but not one encoded video.
    """
    splits: dict[Split, dict[str, VideoVectors]] = {}
    for split, subset in subsets.items():
        cached = read_cache(folder, (video.video_id for video in subset.videos))
        splits[split] = dict(_as_filler(cached) if split == "train" else cached)
        if split != "train" and subset.queries and not splits[split]:
            raise InvalidInput(
                f"{folder} holds none of {len(subset.videos)} {split} videos with queries; "
                f"see its report.json, then run `dvc repro encode`"
            )
    return FeatureSet(grid_size, splits)


def _as_filler(cached: Iterable[tuple[str, VideoVectors]]) -> Iterator[tuple[str, VideoVectors]]:
    total = 0
    for video_id, video in cached:
        yield video_id, video
        total += len(video.mask)
        if total >= FILLER_SUPER_IMAGES:
            return


def sparse(frames: FeatureSet, grid_size: int) -> FeatureSet:
    """Keeps the middle of every N^2 frames: as many single frames as there are super images at N.

    `frames` are features at N = 1; S = F frames leave ceil(F / N^2).
    """
    splits: dict[Split, dict[str, VideoVectors]] = {
        split: {i: take(v, sparse_rows(len(v.mask), grid_size)) for i, v in videos.items()}
        for split, videos in frames.splits.items()
    }
    return FeatureSet(1, splits)


def sparse_rows(frames: int, grid_size: int) -> Int64:
    """Returns the positions of the kept frames.

    >>> sparse_rows(10, 2).tolist()
    [2, 6, 9]
    """
    group = grid_size**2
    return np.minimum(np.arange(0, frames, group) + group // 2, frames - 1)


@torch.inference_mode()
def gmacs_per_image(backbone: Backbone, resolution: int, grid_size: int) -> float:
    """Counts 10^9 multiply-accumulates of the image tower on one super image of side R.

    Convolutions and matrix products are counted while the tower runs.
    """
    image = torch.zeros((1, resolution, resolution, 3), dtype=torch.uint8)
    mask = torch.ones((1, grid_size, grid_size), dtype=torch.bool)
    tower = backbone.image_tower.cpu()
    counter = FlopCounterMode(display=False)
    with counter:
        tower(image, mask)
    flops: int = counter.get_total_flops()
    return flops / 2 / 1e9


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
        ids = [entry.video_id for entry in pool]
        tables = score_pool(self.query_vectors, pool, settings)
        return [rank_scores(self.queries, ids, table) for table in tables]

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
        # A fingerprint of its own for each retriever, so that no index mixes two of them.
        made_by = video.spec.fingerprint + weights
        made_by = fingerprint(made_by, Preprocessing(), retriever.dim, params.window)
        spec = video.spec.model_copy(update={"fingerprint": made_by})
        return encode_video(retriever, video, params.window, params.window_overlap, spec)

    train = features.splits["train"].values() if filler else ()
    return EvalSplit(
        features.grid_size,
        texts.subsets[split].queries,
        encode_queries(retriever, texts.vectors[split]),
        {i: encode(video) for i, video in features.splits[split].items()},
        shuffle_into_blocks([encode(video) for video in train], FILLER_SEED),
    )


@torch.inference_mode()
def encode_video(
    retriever: Retriever, features: VideoVectors, window: int, overlap: int, spec: EmbeddingSpec
) -> VideoVectors:
    """Encodes the features of one video, in the windows that the service uses."""
    device, side = device_of(retriever), features.spec.grid_size
    parts: list[Float16] = []
    for span in window_spans(len(features.mask), window, overlap):
        rows = slice(span.begin, span.end)
        inputs = torch.from_numpy(features.embeddings[rows].astype(np.float32)).to(device)
        mask = torch.from_numpy(features.mask[rows]).view(-1, side, side).to(device)
        encoded = retriever.eval().video(inputs[None], mask[None])[0]
        parts.append(encoded.cpu().numpy().astype(np.float16)[span.keep])
    return VideoVectors(spec, np.concatenate(parts), features.mask, features.times)


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
