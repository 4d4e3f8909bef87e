"""What training reads: videos with captions, their features by batch, and the order of batches."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from qasir.errors import InvalidInput, NotFound
from qasir.types import Float32, Int64
from training.dataset import Subset
from training.features import VideoFeatures

# Rows of one bridge call: bounds what its class probabilities take in memory.
KNOWN_ROWS = 4096


@dataclass(frozen=True)
class Captioned:
    """Videos with captions: caption i, `texts[i]`, is of video `owners[i]` (int [Q])."""

    video_ids: tuple[str, ...]
    texts: tuple[str, ...]
    owners: Int64

    def of(self, videos: Sequence[int]) -> tuple[tuple[str, ...], Int64]:
        """Texts of some videos, and the place of each text's owner among them (int [Q])."""
        places = {video: place for place, video in enumerate(videos)}
        chosen = [i for i, owner in enumerate(self.owners.tolist()) if owner in places]
        owners = np.array([places[int(self.owners[i])] for i in chosen], np.int64)
        return tuple(self.texts[i] for i in chosen), owners


def captioned(subset: Subset, available: Iterable[str]) -> Captioned:
    """A split without the videos that have no caption or are not `available`."""
    known = set(available)
    queries = [query for query in subset.queries if query.video_id in known]
    ids = tuple(dict.fromkeys(query.video_id for query in queries))
    places = {video_id: place for place, video_id in enumerate(ids)}
    owners = np.array([places[query.video_id] for query in queries], np.int64)
    return Captioned(ids, tuple(query.text for query in queries), owners)


@dataclass(frozen=True)
class VideoBatch:
    """B videos at one grid size, padded to equal S by super images without a real cell.

    features: float32 [B, S, 1+P, F']; mask: bool [B, S, N, N]; known: zero-shot units float32
    [B, S, 1+P, D0], or None where they follow from features that are still being trained.
    """

    features: Tensor
    mask: Tensor
    known: Tensor | None

    def to(self, device: torch.device) -> "VideoBatch":
        known = None if self.known is None else self.known.to(device)
        return VideoBatch(self.features.to(device), self.mask.to(device), known)


class Source(Protocol):
    """Where a batch's features and query vectors come from: a cache, or towers in training.

    towers: what is trained there; None where nothing is.
    """

    towers: nn.Module | None

    def videos(self, video_ids: Sequence[str], grid_size: int) -> VideoBatch:
        """Features of videos by id."""

    def queries(self, texts: Sequence[str]) -> Tensor:
        """Zero-shot query vectors q0 float32 [Q, D0]."""


class CachedSource:
    """Features of a frozen backbone in memory; the bridge is run once for every video."""

    towers: nn.Module | None = None

    def __init__(
        self,
        features: Mapping[int, Mapping[str, VideoFeatures]],
        vectors: Mapping[str, Float32],
        bridge: nn.Module,
    ) -> None:
        """`features` by grid size and video id, `vectors` q0 float32 [D0] by text."""
        self._features = features
        self._vectors = vectors
        self._bridge = bridge
        self._known: dict[tuple[int, str], Tensor] = {}

    def videos(self, video_ids: Sequence[str], grid_size: int) -> VideoBatch:
        """Features of videos by id.

        Raises:
            NotFound: a video has no features at this grid size.
        """
        chosen = [self._one(video_id, grid_size) for video_id in video_ids]
        pairs = zip(video_ids, chosen, strict=True)
        known = [self._known_units(video_id, video) for video_id, video in pairs]
        masks = [torch.from_numpy(video.mask) for video in chosen]
        mask = nn.utils.rnn.pad_sequence(masks, batch_first=True)
        return VideoBatch(
            _padded([torch.from_numpy(video.features) for video in chosen]),
            mask.view(*mask.shape[:2], grid_size, grid_size),
            _padded(known),
        )

    def queries(self, texts: Sequence[str]) -> Tensor:
        """Zero-shot query vectors q0 float32 [Q, D0]."""
        return torch.from_numpy(np.stack([self._vectors[text] for text in texts]))

    def _one(self, video_id: str, grid_size: int) -> VideoFeatures:
        found = self._features.get(grid_size, {}).get(video_id)
        if found is None:
            raise NotFound(
                f"video '{video_id}' has no features at grid size {grid_size}; "
                f"run `dvc repro encode@{grid_size}`"
            )
        return found

    @torch.inference_mode()
    def _known_units(self, video_id: str, video: VideoFeatures) -> Tensor:
        """Kept as float16: a third of what the features take."""
        key = video.spec.grid_size, video_id
        if key not in self._known:
            rows = torch.from_numpy(video.features).flatten(0, 1)
            parts = torch.split(rows, KNOWN_ROWS)
            units = torch.cat([self._bridge(part.float()).half() for part in parts])
            self._known[key] = units.view(*video.features.shape[:2], -1)
        return self._known[key]


def _padded(rows: Sequence[Tensor]) -> Tensor:
    return nn.utils.rnn.pad_sequence(list(rows), batch_first=True).float()


@dataclass(frozen=True)
class Draw:
    """One batch to come: a grid size and positions of videos."""

    grid_size: int
    videos: tuple[int, ...]


def draw_epoch(
    videos: int, grid_sizes: Sequence[int], size: int, seed: int, epoch: int
) -> list[Draw]:
    """Batches of at most `size` videos, every video once at every grid size, all in random order.

    A pure function of its arguments: an interrupted training draws the same again.

    >>> [draw.grid_size for draw in draw_epoch(4, (1, 2), 2, seed=7, epoch=0)]
    [1, 2, 1, 2]

    Raises:
        InvalidInput: fewer than two videos, which have no negatives.
    """
    if videos < 2:
        raise InvalidInput(f"{videos} videos with captions; contrastive training needs at least 2")
    random = np.random.default_rng([seed, epoch])
    draws = []
    for grid_size in sorted(grid_sizes):
        order = random.permutation(videos)
        parts = np.array_split(order, -(-videos // size))
        draws += [Draw(grid_size, tuple(part.tolist())) for part in parts]
    return [draws[i] for i in random.permutation(len(draws))]
