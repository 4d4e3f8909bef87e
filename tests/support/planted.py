"""A small world in which captions can be learned: both towers see the same concepts.

A frame shows one concept, a video four of them for three frames each, and a caption names one.
Features and query vectors are linear in the concepts, with noise; the bridge says little.
"""

from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from qasir.config import FinetuneParams
from qasir.manifest import EmbeddingSpec, TokenizerSpec
from qasir.types import Float32
from qasir.vectors import VideoVectors
from training.train.batches import CachedFeatureProvider, CaptionDataset
from training.train.trainer import TrainingData

CONCEPTS, FEATURES, DIM = 10, 24, 16
MOMENTS, MOMENT_FRAMES = 4, 3
NOISE = 0.3


class Bridge(nn.Module):
    """The first features, L2-normalised."""

    def forward(self, features: Tensor) -> Tensor:
        """float32 [..., F'] -> float32 [..., D0]."""
        return nn.functional.normalize(features[..., :DIM], dim=-1)


class PlantedBackbone:
    """A backbone of which only the bridge is ever run."""

    name = "planted"
    dim = DIM
    feature_dim = FEATURES
    tokenizer_spec = TokenizerSpec(pad_id=0, buckets=(16,))

    def __init__(self) -> None:
        self.image_tower: nn.Module = nn.Identity()
        self.text_tower: nn.Module = nn.Identity()
        self.bridge: nn.Module = Bridge()

    def check_resolution(self, resolution: int) -> None:
        """Any will do."""

    def save_tokenizer(self, folder: object) -> None:
        """There is none."""


@dataclass(frozen=True)
class World:
    """What concepts look like and how they are named; equal for all videos of a seed."""

    looks: Float32
    names: Float32
    random: np.random.Generator

    @classmethod
    def make(cls, seed: int) -> "World":
        random = np.random.default_rng(seed)
        looks = random.standard_normal((CONCEPTS, FEATURES)).astype(np.float32)
        names = random.standard_normal((CONCEPTS, DIM)).astype(np.float32)
        return cls(looks, names, random)

    def video(self, concepts: list[int], grid_size: int) -> VideoVectors:
        """Three frames a concept, one a second; a super image looks like the mean of its cells."""
        frames = self.looks[np.repeat(concepts, MOMENT_FRAMES)]
        frames = frames + NOISE * self.random.standard_normal(frames.shape)
        cells = grid_size**2
        count = -(-len(frames) // cells)
        features = np.zeros((count, 1 + cells, FEATURES), np.float16)
        mask = (np.arange(count * cells) < len(frames)).reshape(count, cells)
        features[:, 1:][mask] = frames
        features[:, 0] = features[:, 1:].sum(1) / mask.sum(1, keepdims=True)
        starts = np.arange(count * cells, dtype=np.float64).reshape(count, cells)
        times = np.stack([starts, starts + 1], -1) * mask[..., None]
        return VideoVectors(spec(grid_size), features, mask, times)

    def vector(self, concept: int) -> Float32:
        """q0 of a caption about a concept."""
        vector = self.names[concept] + NOISE * self.random.standard_normal(DIM)
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


def spec(grid_size: int) -> EmbeddingSpec:
    return EmbeddingSpec(fingerprint="f" * 16, grid_size=grid_size, resolution=64, fps=1.0)


def planted(
    grid_sizes: tuple[int, ...] = (1, 2), *, train: int = 24, val: int = 8, seed: int = 0
) -> TrainingData:
    """`train` and `val` videos with a caption for each of their concepts."""
    world = World.make(seed)
    features: dict[int, dict[str, VideoVectors]] = {n: {} for n in grid_sizes}
    vectors: dict[str, Float32] = {}
    train_split = _split(world, "train", train, features, vectors)
    val_split = _split(world, "val", val, features, vectors)
    source = CachedFeatureProvider(features, vectors, Bridge())
    return TrainingData(train_split, val_split, source, grid_sizes)


def _split(
    world: World,
    name: str,
    count: int,
    features: dict[int, dict[str, VideoVectors]],
    vectors: dict[str, Float32],
) -> CaptionDataset:
    ids, texts, owners = [], [], []
    for number in range(count):
        concepts = world.random.choice(CONCEPTS, MOMENTS, replace=False).tolist()
        ids.append(f"{name}-{number}")
        for grid_size, videos in features.items():
            videos[ids[-1]] = world.video(concepts, grid_size)
        for concept in concepts:
            texts.append(f"{ids[-1]} shows {concept}")
            owners.append(number)
            vectors[texts[-1]] = world.vector(concept)
    return CaptionDataset(tuple(ids), tuple(texts), np.array(owners, np.int64))


def finetune_params(
    retriever: dict[str, object] | None = None, **changes: object
) -> FinetuneParams:
    """Small and quick; `retriever` changes what is learned, the rest how."""
    learned = {
        "dim": 8,
        "layers": 1,
        "heads": 2,
        "dropout": 0.1,
        "image_adapter": True,
        "text_adapter": True,
        "temporal_encoder": True,
        "grid_embedding": True,
    }
    values = {
        "backbone": "frozen",
        "epochs": 3,
        "patience": 3,
        "videos": 8,
        "learning_rate": 1e-3,
        "adapter_rate": 0.1,
        "directions": 12,
        "weight_decay": 0.05,
        "warm_up": 1,
        "gradient_norm": 1.0,
        "tau": 0.1,
        "logit_scale": 20.0,
        "triplet": {"weight": 0.0, "margin": 0.2, "hardest": 3, "warm_up": 1},
        "residual_ratios": [0.0, 0.2, 0.4, 0.6],
        "familiarity": True,
        "super_image_branch": True,
        "cell_branch": True,
        "precision": "no",
        "seed": 7,
        "tuning": {
            "blocks": 1,
            "rank": 2,
            "alpha": 4.0,
            "dropout": 0.0,
            "learning_rate": 1e-4,
            "videos": 4,
            "chunk": 4,
            "checkpointing": False,
            "cache_gb": 0.1,
        },
    }
    merged = values | changes | {"retriever": learned | (retriever or {})}
    return FinetuneParams.model_validate(merged)
