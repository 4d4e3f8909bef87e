"""What evaluation and study read of a dataset, for one backbone: queries and features."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from qasir.errors import InvalidInput
from qasir.modeling.backbones import Backbone
from qasir.types import Float32, Int64
from training.dataset import SPLITS, Split, Subset, read_split
from training.feature_cache import read_cache
from training.features import VideoFeatures, take
from training.towers import encode_texts

# Super images of train that are kept to lengthen other videos: enough that two videos of the
# longest pool share few, and bounded however large a train split is.
FILLER_SUPER_IMAGES = 10_000


@dataclass(frozen=True)
class Texts:
    """The splits of a dataset, and their queries as the text tower sees them.

    vectors: zero-shot query vectors q0 float32 [Q, D0] of each split.
    """

    subsets: Mapping[Split, Subset]
    vectors: Mapping[Split, Float32]


@dataclass(frozen=True)
class FeatureSet:
    """Features by video id at one N, R and fps.

    splits: all of val and test, and of train as much as lengthens other videos.
    """

    grid_size: int
    splits: Mapping[Split, Mapping[str, VideoFeatures]]

    def super_images_per_video(self, split: Split) -> float:
        """The mean of S: encodings that a video costs."""
        return float(np.mean([len(video) for video in self.splits[split].values()]))


@dataclass(frozen=True)
class Corpus:
    """What the models of one backbone are measured on; features and GMACs per encoding by N."""

    texts: Texts
    features: Mapping[int, FeatureSet]
    gmacs: Mapping[int, float]


def read_texts(dataset: Path, backbone: Backbone) -> Texts:
    """Queries of val and test; of train nothing is asked."""
    subsets = {split: read_split(dataset, split) for split in SPLITS}
    asked: tuple[Split, ...] = ("val", "test")
    vectors = {s: encode_texts(backbone, [q.text for q in subsets[s].queries]) for s in asked}
    return Texts(subsets, vectors)


def read_feature_set(folder: Path, grid_size: int, subsets: Mapping[Split, Subset]) -> FeatureSet:
    """Features of one folder of `encode`.

    Raises:
        InvalidInput: val or test has queries and not one encoded video.
    """
    splits: dict[Split, dict[str, VideoFeatures]] = {}
    for split, subset in subsets.items():
        cached = read_cache(folder, (video.video_id for video in subset.videos))
        splits[split] = dict(_as_filler(cached) if split == "train" else cached)
        if split != "train" and subset.queries and not splits[split]:
            raise InvalidInput(
                f"{folder} holds none of {len(subset.videos)} {split} videos with queries; "
                f"see its report.json, then run `dvc repro encode@{grid_size}`"
            )
    return FeatureSet(grid_size, splits)


def _as_filler(
    cached: Iterable[tuple[str, VideoFeatures]],
) -> Iterator[tuple[str, VideoFeatures]]:
    total = 0
    for video_id, video in cached:
        yield video_id, video
        total += len(video)
        if total >= FILLER_SUPER_IMAGES:
            return


def sparse(frames: FeatureSet, grid_size: int) -> FeatureSet:
    """Single frames as few as super images of N x N would be: the middle of every N^2 frames.

    `frames` are features at N = 1; S = F frames leave ceil(F / N^2).
    """
    splits: dict[Split, dict[str, VideoFeatures]] = {
        split: {i: take(v, sparse_rows(len(v), grid_size)) for i, v in videos.items()}
        for split, videos in frames.splits.items()
    }
    return FeatureSet(1, splits)


def sparse_rows(frames: int, grid_size: int) -> Int64:
    """Positions of the kept frames.

    >>> sparse_rows(10, 2).tolist()
    [2, 6, 9]
    """
    group = grid_size**2
    return np.minimum(np.arange(0, frames, group) + group // 2, frames - 1)
