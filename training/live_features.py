"""Features and query vectors of a batch straight from pixels and words, with their gradients.

The frozen path reads both from a cache; this one runs the towers that are being trained. What
comes out has the same shapes, so the same retriever and losses follow.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from accelerate import PartialState
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from qasir.config import Params, TuningParams
from qasir.modeling.backbones import Backbone
from training.batches import VideoBatch
from training.decoding import Sampling
from training.encode import sampling_of
from training.pixels import PixelCache
from training.towers import tokenizer_of
from training.tuned_backbone import TunedBackbone


class LiveFeatures:
    """The towers of a backbone in training, fed with videos by id and texts."""

    def __init__(
        self,
        tuned: TunedBackbone,
        pixels: PixelCache,
        samplings: Mapping[int, Sampling],
        params: TuningParams,
    ) -> None:
        """`samplings` by grid size."""
        self.tuned = tuned
        self.towers: nn.Module | None = tuned.model
        self._tokenizer = tokenizer_of(tuned.backbone)
        self._pixels = pixels
        self._samplings = samplings
        self._params = params

    @property
    def device(self) -> torch.device:
        """Where the towers are: whoever trains them puts them there."""
        device: torch.device = self.tuned.model.device
        return device

    def videos(self, video_ids: Sequence[str], grid_size: int) -> VideoBatch:
        """Features of videos by id, on the device.

        Raises:
            NotFound: there is no file for an id.
        """
        batches = self._pixels.load(video_ids, self._samplings[grid_size])
        counts = [len(batch) for batch in batches]
        pixels = torch.cat([torch.from_numpy(batch.pixels) for batch in batches])
        mask = torch.cat([torch.from_numpy(batch.mask) for batch in batches])
        mask = mask.view(-1, grid_size, grid_size)
        features = self._forward(self.tuned.backbone.image_tower, pixels, mask)
        return VideoBatch(pad(features, counts), pad(mask.to(self.device), counts), known=None)

    def queries(self, texts: Sequence[str]) -> Tensor:
        """Zero-shot query vectors q0 float32 [Q, D0], L2-normalised, on the device."""
        tokens = self._tokenizer.encode(texts)
        ids, mask = torch.from_numpy(tokens.input_ids), torch.from_numpy(tokens.attention_mask)
        return self._forward(self.tuned.backbone.text_tower, ids, mask)

    def _forward(self, tower: nn.Module, *inputs: Tensor) -> Tensor:
        """Inputs of equal length on the host -> the tower's output on the device.

        In chunks, whose activations are worked out again on the way back: memory then holds
        one chunk of them, however many super images a batch of videos has.
        """
        # The weights are there already; the mean and deviation of pixels are the tower's own.
        tower.to(self.device)
        parts = zip(*(torch.split(tensor, self._params.chunk) for tensor in inputs), strict=True)
        return torch.cat([self._chunk(tower, *part).float() for part in parts])

    def _chunk(self, tower: nn.Module, *inputs: Tensor) -> Tensor:
        moved = [tensor.to(self.device) for tensor in inputs]
        if self._params.checkpointing and torch.is_grad_enabled():
            kept: Tensor = checkpoint(tower, *moved, use_reentrant=False)
            return kept
        output: Tensor = tower(*moved)
        return output


def pad(rows: Tensor, counts: Sequence[int]) -> Tensor:
    """Rows [sum of counts, ...] of B videos to [B, S, ...], zeros after each video's own."""
    return nn.utils.rnn.pad_sequence(list(torch.split(rows, list(counts))), batch_first=True)


def open_live(
    params: Params,
    backbone: Backbone,
    files: Mapping[str, Path],
    pixels: Path,
) -> LiveFeatures:
    """What `finetune.backbone` names, free to train; decoded pixels are kept in `pixels`.

    Raises:
        InvalidConfig: the backbone is none that can be trained so, see `TunedBackbone`.
        InvalidInput: the backbone does not read a resolution of `grids`.
    """
    for grid in params.grids.values():
        backbone.check_resolution(grid.resolution)
    tuning = params.finetune.tuning
    tuned = TunedBackbone(backbone, params.finetune.backbone, tuning)
    # Training starts with features of every video: on the machine's fastest part at once.
    tuned.model.to(PartialState().device)
    cache = PixelCache(pixels, files, limit=int(tuning.cache_gb * 1e9))
    samplings = {n: sampling_of(params, n) for n in params.grids}
    return LiveFeatures(tuned, cache, samplings, tuning)
