"""Trains a retriever: start, batches, steps, validation, best epoch, resuming.

On one machine, equal parameters, data and seed give equal weights.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import DistributedDataParallelKwargs
from pydantic import TypeAdapter
from torch import Tensor

from qasir.artifacts import atomic_write
from qasir.config import FinetuneParams
from qasir.errors import InvalidInput
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import Retriever, untrained
from training.train.alignment import align, fit_familiarity
from training.train.batches import CaptionDataset, Draw, FeatureProvider, draw_epoch
from training.train.history import Epoch, TrainingHistory
from training.train.trainable_retriever import TrainableRetriever, learning_rate, new_optimizer
from training.train.validation import choose_weights, try_residual_ratios, validate


@dataclass(frozen=True)
class TrainingData:
    """Captioned videos to train and to validate on, and the provider of their features."""

    train: CaptionDataset
    val: CaptionDataset
    provider: FeatureProvider
    grid_sizes: tuple[int, ...]


EPOCHS = TypeAdapter(list[Epoch])
Listener = Callable[[Epoch], None]
# Fits the adapters of an untrained retriever.
Start = Callable[[TrainableRetriever], None]


def train(
    params: FinetuneParams,
    data: TrainingData,
    backbone: Backbone,
    window: int,
    *,
    start: Start | None = None,
    listener: Listener = lambda _: None,
    history: TrainingHistory | None = None,
    state: Path | None = None,
) -> Retriever:
    """Returns the retriever of the best epoch, the start included, with its residual ratio.

    Validation selects the epoch; without a validation split the last epoch is used, and queries
    like the training captions get no share of zero-shot. `start` replaces `closed_form`. Every
    epoch goes to `listener` and `history`; `state` is a file from which an interrupted training
    resumes.

    Raises:
        InvalidInput: fewer than two videos of train have captions and features.
    """
    if len(data.train.video_ids) < 2:
        raise InvalidInput(
            f"the train split has {len(data.train.video_ids)} videos with captions and features, "
            "training needs at least 2; set prepare.dataset to one with a train split, or "
            "export.variant to zero-shot"
        )
    history = TrainingHistory() if history is None else history
    trainer = Trainer(params, data, backbone, window, start or closed_form(params, data), history)
    if not (state and trainer.resume(state)):
        trainer.add_epoch(0, None)
    for epoch in history.epochs:
        listener(epoch)
    while not trainer.is_done:
        listener(trainer.run_epoch())
        if state:
            trainer.save(state)
    retriever = trainer.finish()
    if state and PartialState().is_main_process:
        state.unlink(missing_ok=True)
    return retriever


class Trainer:
    """One training in progress; its state can be saved and restored between epochs."""

    def __init__(
        self,
        params: FinetuneParams,
        data: TrainingData,
        backbone: Backbone,
        window: int,
        start: Start,
        history: TrainingHistory,
    ) -> None:
        self._params, self._data, self._history = params, data, history
        handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
        self._accelerator = Accelerator(mixed_precision=params.precision, kwargs_handlers=handlers)
        torch.manual_seed(params.seed)
        self.trainable = new_trainable(params, data, backbone, window)
        start(self.trainable)
        self._model, self._optimizer = self._accelerator.prepare(
            self.trainable, new_optimizer(self.trainable, params)
        )
        self._best = learned_tensors(self.trainable)
        self._key = run_key(params, data, backbone, window)

    @property
    def epoch(self) -> int:
        """Returns the number of finished epochs; the start does not count."""
        return self._history.epochs[-1].number

    @property
    def is_done(self) -> bool:
        """Returns whether all epochs are over, or the last `patience` were no better."""
        patient = self.epoch - self._history.best.number < self._params.patience
        return self.epoch >= self._params.epochs or not patient

    def resume(self, path: Path) -> bool:
        """Restores an interrupted training; returns False if the file holds none of this key."""
        try:
            saved = torch.load(path, weights_only=True)
            epochs = EPOCHS.validate_python(saved["epochs"])
            if saved["key"] != self._key:
                return False
        except (OSError, RuntimeError, ValueError, KeyError, TypeError, EOFError, UnpicklingError):
            return False
        self._history.epochs[:] = epochs
        self._best = saved["best"]
        self.trainable.load_state_dict(saved["trainable"], strict=False)
        self._optimizer.load_state_dict(saved["optimizer"])
        return True

    def run_epoch(self) -> Epoch:
        """Trains once on every video at every grid size and validates."""
        number = self.epoch + 1
        draws = self._draws(number)
        # Per epoch, so an interrupted epoch is repeated with the same dropout.
        digest = hashlib.sha256(f"{self._params.seed} {number}".encode()).digest()
        torch.manual_seed(int.from_bytes(digest[:7]))
        losses = [
            self._step(draw, number - 1 + i / len(draws)) for i, draw in enumerate(draws, start=1)
        ]
        return self.add_epoch(number, math.fsum(losses) / len(losses))

    def save(self, path: Path) -> None:
        """Writes what the next epoch depends on, and the best epoch so far, for `resume`."""
        if self._accelerator.is_main_process:
            state = {
                "key": self._key,
                "epochs": EPOCHS.dump_python(self._history.epochs),
                "trainable": learned_tensors(self.trainable),
                "optimizer": self._optimizer.state_dict(),
                "best": self._best,
            }
            with atomic_write(path) as file:
                torch.save(state, file)

    @torch.no_grad()
    def finish(self) -> Retriever:
        """Returns the best epoch's retriever, with its branches and residual ratio."""
        self.trainable.load_state_dict(self._best, strict=False)
        data, retriever = self._data, self.trainable.retriever
        if self._params.familiarity:
            texts = data.train.texts, data.val.texts or data.train.texts
            captions, unseen = (data.provider.queries(t).to(self.trainable.device) for t in texts)
            fit_familiarity(self.trainable.text, captions, unseen)
        if data.val.texts:
            if self._params.super_image_branch and self._params.cell_branch:
                choose_weights(self.trainable, data.val, data.grid_sizes)
            candidates = self._params.residual_ratios
            curve = try_residual_ratios(self.trainable, data.val, data.grid_sizes, candidates)
            self._history.ratios.update({r: found.objective for r, found in curve.items()})
        self._history.chosen_ratio = retriever.residual_ratio
        retriever.branches = {n: self.trainable.branches.at(n) for n in data.grid_sizes}
        return retriever.cpu().eval()

    def add_epoch(self, number: int, loss: float | None) -> Epoch:
        """Validates, and remembers the tensors of the best epoch."""
        data, branches = self._data, self.trainable.branches
        objectives: dict[int, float] = {}
        if data.val.texts:
            objectives = validate(self.trainable, data.val, data.grid_sizes).objectives
        scale = self.trainable.log_scale.exp().item()
        fusions = {n: branches.at(n) for n in data.grid_sizes}
        epoch = Epoch(number, loss, objectives, fusions, scale)
        self._history.epochs.append(epoch)
        if self._history.best is epoch:
            self._best = learned_tensors(self.trainable)
        return epoch

    def _step(self, draw: Draw, epochs: float) -> float:
        """Trains on one batch, `epochs` after the start; returns its loss."""
        train = self._data.train
        ids = [train.video_ids[i] for i in draw.videos]
        texts, places = train.of(draw.videos)
        owners = torch.from_numpy(places).to(self.trainable.device)
        hardest = epochs > self._params.triplet.warm_up
        rate = learning_rate(self._params, epochs)
        for group in self._optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self._model.train()
        with self._accelerator.autocast():
            loss = self._model(ids, draw.grid_size, texts, owners, hardest)
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._model.parameters(), self._params.gradient_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def _draws(self, number: int) -> list[Draw]:
        """Returns this process's batches of an epoch, equally many in every process."""
        videos, grid_sizes = len(self._data.train.video_ids), self._data.grid_sizes
        params, accelerator = self._params, self._accelerator
        size = params.videos if params.backbone == "frozen" else params.tuning.videos
        draws = draw_epoch(videos, grid_sizes, size, params.seed, number)
        # Wraps around, so that no process waits for a step that another does not have.
        processes = accelerator.num_processes
        end = -(-len(draws) // processes) * processes
        share = range(accelerator.process_index, end, processes)
        return [draws[i % len(draws)] for i in share]


def new_trainable(
    params: FinetuneParams, data: TrainingData, backbone: Backbone, window: int
) -> TrainableRetriever:
    """Initialises everything that is learned from torch's generator."""
    retriever = untrained(backbone, params.retriever, sorted(data.grid_sizes))
    trainable = TrainableRetriever(retriever, data.provider, params, window)
    # The bridge belongs to the backbone; where towers are trained it is part of them.
    trainable.video.bridge.requires_grad_(False)
    return trainable


def closed_form(params: FinetuneParams, data: TrainingData) -> Start:
    """Fits adapters by `training.train.alignment`: the same for every seed."""

    def start(trainable: TrainableRetriever) -> None:
        units, text = trainable.video.learned, trainable.text
        align(units, text, data.train, data.provider, data.grid_sizes, params.directions)

    return start


def learned_tensors(trainable: TrainableRetriever) -> dict[str, Tensor]:
    """Copies everything that is learned: what takes gradients, and what was fitted."""
    kept = {name for name, p in trainable.named_parameters() if p.requires_grad}
    kept |= {name for name, _ in trainable.retriever.named_buffers(prefix="retriever")}
    return {
        name: value.detach().cpu().clone()
        for name, value in trainable.state_dict().items()
        if name in kept and ".bridge." not in name
    }


def run_key(params: FinetuneParams, data: TrainingData, backbone: Backbone, window: int) -> str:
    """Identifies a training, so that it never resumes from the state of another."""
    digest = hashlib.sha256(f"{backbone.name} {window} {data.grid_sizes}".encode())
    digest.update(params.model_dump_json().encode())
    for split in (data.train, data.val):
        for word in (*split.video_ids, *split.texts):
            digest.update(word.encode() + b"\0")
    return digest.hexdigest()
