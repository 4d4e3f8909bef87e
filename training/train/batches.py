"""Provides training data: videos with captions, their features by batch, the order of batches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from qasir.errors import NotFound
from qasir.types import Float32, Int64
from qasir.vectors import VideoVectors
from training.data.dataset import Subset

# Rows per bridge call; bounds the memory of its class probabilities.
KNOWN_ROWS = 4096


@dataclass(frozen=True)
class CaptionDataset:
    """Videos with captions: `texts[i]` describes video `owners[i]` (int [Q])."""

    video_ids: tuple[str, ...]
    texts: tuple[str, ...]
    owners: Int64

    def of(self, videos: Sequence[int]) -> tuple[tuple[str, ...], Int64]:
        """Returns the texts of some videos and each text's owner among them (int [Q])."""
        places = {video: place for place, video in enumerate(videos)}
        chosen = [i for i, owner in enumerate(self.owners.tolist()) if owner in places]
        owners = np.array([places[int(self.owners[i])] for i in chosen], np.int64)
        return tuple(self.texts[i] for i in chosen), owners


def captioned(subset: Subset, available: Iterable[str]) -> CaptionDataset:
    """Returns a split without the videos that have no caption or are not `available`."""
    encoded = set(available)
    queries = [query for query in subset.queries if query.video_id in encoded]
    ids = tuple(dict.fromkeys(query.video_id for query in queries))
    places = {video_id: place for place, video_id in enumerate(ids)}
    owners = np.array([places[query.video_id] for query in queries], np.int64)
    return CaptionDataset(ids, tuple(query.text for query in queries), owners)


@dataclass(frozen=True)
class VideoBatch:
    """B videos at one grid size, padded to equal S with super images that have no real cell.

    features: float32 [B, S, 1+P, F']; mask: bool [B, S, N, N]; zero_shot: zero-shot embeddings
    float32 [B, S, 1+P, D0], or None while the towers that determine them are trained.
    """

    features: Tensor
    mask: Tensor
    zero_shot: Tensor | None

    def to(self, device: torch.device) -> "VideoBatch":
        zero_shot = None if self.zero_shot is None else self.zero_shot.to(device)
        return VideoBatch(self.features.to(device), self.mask.to(device), zero_shot)


class FeatureProvider(Protocol):
    """Provides features and query vectors of a batch: from a cache, or from towers in training.

    towers: the module that is trained, or None.
    """

    towers: nn.Module | None

    def videos(self, video_ids: Sequence[str], grid_size: int) -> VideoBatch:
        """Returns features of videos by id."""

    def queries(self, texts: Sequence[str]) -> Tensor:
        """Returns zero-shot query vectors q0 float32 [Q, D0]."""


class CachedFeatureProvider:
    """Provides features of a frozen backbone from memory; the bridge runs once per video."""

    towers: nn.Module | None = None

    def __init__(
        self,
        features: Mapping[int, Mapping[str, VideoVectors]],
        vectors: Mapping[str, Float32],
        bridge: nn.Module,
    ) -> None:
        """`features` by grid size and video id, `vectors` q0 float32 [D0] by text."""
        self._features = features
        self._vectors = vectors
        self._bridge = bridge
        self._zero_shot: dict[tuple[int, str], Tensor] = {}

    def videos(self, video_ids: Sequence[str], grid_size: int) -> VideoBatch:
        """Returns features of videos by id.

        Raises:
            NotFound: a video has no features at this grid size.
        """
        chosen = [self._video(video_id, grid_size) for video_id in video_ids]
        pairs = zip(video_ids, chosen, strict=True)
        zero_shot = [self._zero_shot_of(video_id, video) for video_id, video in pairs]
        masks = [torch.from_numpy(video.mask) for video in chosen]
        mask = nn.utils.rnn.pad_sequence(masks, batch_first=True)
        return VideoBatch(
            _padded([torch.from_numpy(video.embeddings) for video in chosen]),
            mask.view(*mask.shape[:2], grid_size, grid_size),
            _padded(zero_shot),
        )

    def queries(self, texts: Sequence[str]) -> Tensor:
        """Returns zero-shot query vectors q0 float32 [Q, D0]."""
        return torch.from_numpy(np.stack([self._vectors[text] for text in texts]))

    def _video(self, video_id: str, grid_size: int) -> VideoVectors:
        video = self._features.get(grid_size, {}).get(video_id)
        if video is None:
            raise NotFound(
                f"video '{video_id}' has no features at grid size {grid_size}; "
                "run `dvc repro encode`"
            )
        return video

    @torch.inference_mode()
    def _zero_shot_of(self, video_id: str, video: VideoVectors) -> Tensor:
        """Returns zero-shot embeddings; float16, a third of the features' memory."""
        key = video.spec.grid_size, video_id
        if key not in self._zero_shot:
            rows = torch.from_numpy(video.embeddings).flatten(0, 1)
            parts = torch.split(rows, KNOWN_ROWS)
            units = torch.cat([self._bridge(part.float()).half() for part in parts])
            self._zero_shot[key] = units.view(*video.embeddings.shape[:2], -1)
        return self._zero_shot[key]


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True).float()


@dataclass(frozen=True)
class Draw:
    """One planned batch: a grid size and positions of videos."""

    grid_size: int
    videos: tuple[int, ...]


def draw_epoch(
    videos: int, grid_sizes: Sequence[int], size: int, seed: int, epoch: int
) -> list[Draw]:
    """Draws batches of at most `size` videos: every video once per grid size, in random order.

    A pure function of its arguments, so a resumed training draws the same batches.

    >>> [draw.grid_size for draw in draw_epoch(4, (1, 2), 2, seed=7, epoch=0)]
    [1, 2, 1, 2]
    """
    random = np.random.default_rng([seed, epoch])
    draws = []
    for grid_size in sorted(grid_sizes):
        order = random.permutation(videos)
        parts = np.array_split(order, -(-videos // size))
        draws += [Draw(grid_size, tuple(part.tolist())) for part in parts]
    return [draws[i] for i in random.permutation(len(draws))]
