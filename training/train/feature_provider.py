"""Computes features and query vectors of a batch with towers in training, gradients included.

`CachedFeatureProvider` reads both from a cache. Shapes are the same, so retriever and losses are
shared. Every epoch reads the same pixels, which are cached on disk up to a limit.
"""

import zipfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import repeat
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from qasir.artifacts import atomic_write
from qasir.config import Params, TuningParams
from qasir.errors import NotFound
from qasir.manifest import Preprocessing
from qasir.modeling.backbones import Backbone
from qasir.super_images import SuperImageBatch, stack, tile
from qasir.video import sample_frames
from training.features.cache import source_digest
from training.features.encode import THREADS, Sampling, sampling_of
from training.features.towers import tokenizer_of
from training.train.batches import VideoBatch
from training.train.tuned_backbone import TunedBackbone


class PixelCache:
    """Super images of every video of `files`, by video id and sampling."""

    def __init__(self, folder: Path, files: Mapping[str, Path], limit: int) -> None:
        """Opens the cache; `limit` in bytes includes what `folder` already holds."""
        self._folder = folder
        self._files = files
        self._limit = limit
        self._used = sum(path.stat().st_size for path in folder.rglob("*.npz"))
        self._lock = Lock()
        self._digest = cache(source_digest)

    def load(self, video_ids: Sequence[str], sampling: Sampling) -> list[SuperImageBatch]:
        """Reads or decodes videos in parallel, and returns them in the order of `video_ids`.

        Raises:
            NotFound: there is no file for an id.
            UnsupportedMedia, NoVideoStream, NoFrames, VideoTooLong: as `qasir.video`.
        """
        with ThreadPoolExecutor(THREADS) as threads:
            return list(threads.map(self._one, video_ids, repeat(sampling)))

    def _one(self, video_id: str, sampling: Sampling) -> SuperImageBatch:
        if video_id not in self._files:
            raise NotFound(
                f"no video file for '{video_id}'; put it into the folder prepare.videos, or run "
                "`dvc repro encode` so that it is counted as missing"
            )
        path = self._folder / str(sampling.grid_size) / f"{video_id}.npz"
        # Changes with the video file and with anything that alters pixels.
        facts = (sampling.fps, sampling.grid_size, sampling.resolution)
        source = self._digest(self._files[video_id])
        key = f"{source} {facts} {Preprocessing().model_dump_json()}"
        batch = _read(path, key)
        if batch is None:
            frames = sample_frames(self._files[video_id], sampling.fps)
            batch = stack(list(tile(frames, sampling.grid_size, sampling.resolution)))
            self._store(path, key, batch)
        return batch

    def _store(self, path: Path, key: str, batch: SuperImageBatch) -> None:
        size = batch.pixels.nbytes + batch.mask.nbytes + batch.times.nbytes
        with self._lock:
            size -= path.stat().st_size if path.exists() else 0
            if self._used + size > self._limit:
                return
            self._used += size
        with atomic_write(path) as file:
            np.savez(file, key=np.array(key), **vars(batch))


def _read(path: Path, key: str) -> SuperImageBatch | None:
    """Reads the batch of this key; None for a missing or damaged file or one of another key."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            if str(arrays["key"]) != key:
                return None
            return SuperImageBatch(arrays["pixels"], arrays["mask"], arrays["times"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


class LiveFeatureProvider:
    """Runs the towers of a backbone in training on videos by id and on texts."""

    def __init__(
        self,
        tuned: TunedBackbone,
        pixels: PixelCache,
        samplings: Mapping[int, Sampling],
        params: TuningParams,
    ) -> None:
        """Takes `samplings` by grid size."""
        self.tuned = tuned
        self.towers: nn.Module | None = tuned.model
        self._tokenizer = tokenizer_of(tuned.backbone)
        self._pixels = pixels
        self._samplings = samplings
        self._params = params

    @property
    def device(self) -> torch.device:
        """Returns the device that the trainer put the towers on."""
        device: torch.device = self.tuned.model.device
        return device

    def videos(self, video_ids: Sequence[str], grid_size: int) -> VideoBatch:
        """Returns features of videos by id, on the device.

        Raises:
            NotFound: there is no file for an id.
        """
        batches = self._pixels.load(video_ids, self._samplings[grid_size])
        counts = [len(batch) for batch in batches]
        pixels = torch.cat([torch.from_numpy(batch.pixels) for batch in batches])
        mask = torch.cat([torch.from_numpy(batch.mask) for batch in batches])
        mask = mask.view(-1, grid_size, grid_size)
        features = self._forward(self.tuned.backbone.image_tower, pixels, mask)
        return VideoBatch(pad(features, counts), pad(mask.to(self.device), counts), None)

    def queries(self, texts: Sequence[str]) -> Tensor:
        """Returns zero-shot query vectors q0 float32 [Q, D0], L2-normalised, on the device."""
        tokens = self._tokenizer.encode(texts)
        ids, mask = torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)
        return self._forward(self.tuned.backbone.text_tower, ids, mask)

    def _forward(self, tower: nn.Module, *inputs: Tensor) -> Tensor:
        """Runs a tower on host inputs of equal length; returns its output on the device.

        Works in chunks whose activations are recomputed in the backward pass, so memory holds one
        chunk of them for any number of super images.
        """
        # The weights are there already; this moves the pixel mean and deviation of the tower.
        tower.to(self.device)
        recompute = self._params.checkpointing and torch.is_grad_enabled()
        outputs: list[Tensor] = []
        parts = zip(*(torch.split(tensor, self._params.chunk) for tensor in inputs), strict=True)
        for part in parts:
            moved = [tensor.to(self.device) for tensor in part]
            output = checkpoint(tower, *moved, use_reentrant=False) if recompute else tower(*moved)
            outputs.append(output.float())
        return torch.cat(outputs)


def pad(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Pads rows [sum of counts, ...] of B videos with zeros to [B, S, ...]."""
    return nn.utils.rnn.pad_sequence(list(torch.split(rows, list(counts))), batch_first=True)


def open_live(
    params: Params,
    backbone: Backbone,
    files: Mapping[str, Path],
    pixels: Path,
) -> LiveFeatureProvider:
    """Opens the part of the backbone that `finetune.backbone` names; caches pixels in `pixels`.

    Raises:
        InvalidConfig: the backbone cannot be trained this way, see `TunedBackbone`.
        InvalidInput: the backbone does not read a resolution of `grids`.
    """
    for grid in params.grids.values():
        backbone.check_resolution(grid.resolution)
    tuning = params.finetune.tuning
    tuned = TunedBackbone(backbone, params.finetune.backbone, tuning)
    # Training starts by encoding every video, so the towers go to the fastest device at once.
    tuned.model.to(PartialState().device)
    pixel_cache = PixelCache(pixels, files, limit=int(tuning.cache_gb * 1e9))
    samplings = {n: sampling_of(params, n) for n in params.grids}
    return LiveFeatureProvider(tuned, pixel_cache, samplings, tuning)
