"""Reads what models of one backbone are measured on: queries, features, cost of an encoding."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from qasir.errors import InvalidInput
from qasir.modeling.backbones import Backbone
from qasir.types import Float32, Int64
from qasir.vectors import VideoVectors, take
from training.data.dataset import SPLITS, Split, Subset, read_split
from training.features.cache import read_cache
from training.features.towers import encode_texts

# Train super images kept to lengthen other videos: enough that two videos of the longest pool
# share few, and bounded for a train split of any size.
FILLER_SUPER_IMAGES = 10_000


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
                f"see its report.json, then run `dvc repro encode@{grid_size}`"
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
