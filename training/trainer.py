"""Trains a retriever: start, batches, steps, validation, the best epoch, resuming.

A function of its arguments: equal parameters, data and seed give equal weights on one machine.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor

from qasir.config import FinetuneParams
from qasir.errors import InvalidInput
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import Retriever, untrained
from training.alignment import align, fit_familiarity
from training.batches import Captioned, Draw, Source, draw_epoch
from training.course import Course, Epoch
from training.learner import Learner
from training.optimizer import learning_rate, new_optimizer, set_learning_rate
from training.training_state import TrainingState, read_state, write_state
from training.validation import choose_weights, try_residual_ratios, validate


@dataclass(frozen=True)
class TrainingData:
    """Captioned videos to learn from and to select on, and where their features come from."""

    train: Captioned
    val: Captioned
    source: Source
    grid_sizes: tuple[int, ...]


Listener = Callable[[Epoch], None]
# Fits the adapters of a fresh learner.
Start = Callable[[Learner], None]


def train(
    params: FinetuneParams,
    data: TrainingData,
    backbone: Backbone,
    window: int,
    *,
    start: Start | None = None,
    listener: Listener = lambda _: None,
    course: Course | None = None,
    state: Path | None = None,
) -> Retriever:
    """The retriever of the best epoch, the start included, with its residual ratio.

    Best is by validation; without a validation split the last epoch is kept, and a query like
    the training captions keeps nothing of zero-shot. `start` stands for `closed_form`. Every
    epoch is told to `listener` and added to `course`; `state` is a file from which an
    interrupted training goes on.

    Raises:
        InvalidInput: fewer than two videos of train have captions and features.
    """
    if len(data.train.video_ids) < 2:
        raise InvalidInput(
            f"the train split has {len(data.train.video_ids)} videos with captions and features, "
            "training needs at least 2; set prepare.dataset to one with a train split, or "
            "export.variant to zero-shot"
        )
    course = Course() if course is None else course
    start = start or closed_form(params, data)
    trainer = Trainer(params, data, backbone, window, start, course)
    trainer.begin(state, listener)
    while not trainer.is_done:
        listener(trainer.run_epoch())
        trainer.save(state)
    return trainer.finish(state)


class Trainer:
    """One training in progress; between epochs its state can be saved and taken up."""

    def __init__(
        self,
        params: FinetuneParams,
        data: TrainingData,
        backbone: Backbone,
        window: int,
        start: Start,
        course: Course,
    ) -> None:
        self._params, self._data, self._course = params, data, course
        handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)]
        self._accelerator = Accelerator(mixed_precision=params.precision, kwargs_handlers=handlers)
        torch.manual_seed(params.seed)
        self.learner = new_learner(params, data, backbone, window)
        start(self.learner)
        self._model, self._optimizer = self._accelerator.prepare(
            self.learner, new_optimizer(self.learner, params)
        )
        self._best = learned_tensors(self.learner)
        self._key = run_key(params, data, backbone, window)

    @property
    def epoch(self) -> int:
        """Epochs that are over; the start is none."""
        return self._course.epochs[-1].number

    @property
    def is_done(self) -> bool:
        """Whether all epochs are over, or the last `patience` of them were no better."""
        patient = self.epoch - self._course.best.number < self._params.patience
        return self.epoch >= self._params.epochs or not patient

    def begin(self, state: Path | None, listener: Listener) -> None:
        """Take up an interrupted training, or validate the start."""
        kept = read_state(state, self._key)
        if kept is None:
            self._add_epoch(0, None)
        else:
            self._course.epochs[:] = kept.epochs
            self._best = dict(kept.best)
            self._load(kept.learner)
            self._optimizer.load_state_dict(kept.optimizer)
        for epoch in self._course.epochs:
            listener(epoch)

    def run_epoch(self) -> Epoch:
        """Train once on every video at every grid size, validate, keep the best."""
        number = self.epoch + 1
        draws = self._draws(number)
        # By epoch: one that was interrupted is run again with the same dropout.
        torch.manual_seed(_seed_of(self._params.seed, number))
        losses = [
            self._step(draw, number - 1 + i / len(draws)) for i, draw in enumerate(draws, start=1)
        ]
        return self._add_epoch(number, math.fsum(losses) / len(losses))

    def save(self, path: Path | None) -> None:
        """Write what `begin` takes up."""
        if path is None or not self._accelerator.is_main_process:
            return
        kept = TrainingState(
            self._key,
            self._course.epochs,
            learned_tensors(self.learner),
            self._optimizer.state_dict(),
            self._best,
        )
        write_state(kept, path)

    def finish(self, state: Path | None) -> Retriever:
        """The best epoch's retriever, with its branches and residual ratio."""
        self._load(self._best)
        self._measure_familiarity()
        data, retriever = self._data, self.learner.retriever
        if data.val.texts:
            if self._params.super_image_branch and self._params.cell_branch:
                choose_weights(self.learner, data.val, data.grid_sizes)
            candidates = self._params.residual_ratios
            curve = try_residual_ratios(self.learner, data.val, data.grid_sizes, candidates)
            self._course.ratios.update({r: found.objective for r, found in curve.items()})
        self._course.chosen_ratio = retriever.residual_ratio
        retriever.branches = {n: self.learner.branches.at(n) for n in data.grid_sizes}
        if state is not None and self._accelerator.is_main_process:
            state.unlink(missing_ok=True)
        return retriever.cpu().eval()

    def _add_epoch(self, number: int, loss: float | None) -> Epoch:
        data, branches = self._data, self.learner.branches
        found = validate(self.learner, data.val, data.grid_sizes) if data.val.texts else None
        epoch = Epoch(
            number,
            loss,
            found.objectives if found else {},
            {n: branches.at(n) for n in data.grid_sizes},
            self.learner.log_scale.exp().item(),
        )
        self._course.epochs.append(epoch)
        if self._course.best is epoch:
            self._best = learned_tensors(self.learner)
        return epoch

    def _step(self, draw: Draw, epochs: float) -> float:
        """One batch, `epochs` after the start; its loss."""
        train = self._data.train
        ids = [train.video_ids[i] for i in draw.videos]
        texts, places = train.of(draw.videos)
        owners = torch.from_numpy(places).to(self.learner.device)
        hardest = epochs > self._params.triplet.warm_up
        set_learning_rate(self._optimizer, learning_rate(self._params, epochs))
        self._model.train()
        with self._accelerator.autocast():
            loss = self._model(ids, draw.grid_size, texts, owners, hardest)
        self._accelerator.backward(loss)
        self._accelerator.clip_grad_norm_(self._model.parameters(), self._params.gradient_norm)
        self._optimizer.step()
        self._optimizer.zero_grad()
        return float(loss.detach())

    def _draws(self, number: int) -> list[Draw]:
        """This process's share of an epoch, equally long in every process."""
        videos, grid_sizes = len(self._data.train.video_ids), self._data.grid_sizes
        params, accelerator = self._params, self._accelerator
        size = params.videos if params.backbone == "frozen" else params.tuning.videos
        draws = draw_epoch(videos, grid_sizes, size, params.seed, number)
        # Round and round, so that none waits for a step that another does not have.
        count = -(-len(draws) // accelerator.num_processes)
        share = range(
            accelerator.process_index, count * accelerator.num_processes, accelerator.num_processes
        )
        return [draws[i % len(draws)] for i in share]

    def _load(self, tensors: Mapping[str, Tensor]) -> None:
        self.learner.load_state_dict(tensors, strict=False)

    @torch.no_grad()
    def _measure_familiarity(self) -> None:
        if self._params.familiarity:
            data, text = self._data, self.learner.text_adapter()
            captions = data.source.queries(data.train.texts).to(self.learner.device)
            unseen = data.source.queries(data.val.texts or data.train.texts)
            fit_familiarity(text, captions, unseen.to(self.learner.device))


def new_learner(
    params: FinetuneParams, data: TrainingData, backbone: Backbone, window: int
) -> Learner:
    """Everything that is learned, drawn from torch's generator."""
    retriever = untrained(backbone, params.retriever, sorted(data.grid_sizes))
    learner = Learner(retriever, data.source, params, window)
    # The bridge is the backbone's; where towers are trained it is one with them.
    learner.temporal_encoder().bridge.requires_grad_(False)
    return learner


def closed_form(params: FinetuneParams, data: TrainingData) -> Start:
    """Adapters as `training.alignment` fits them: the same for every seed."""

    def start(learner: Learner) -> None:
        units, text = learner.temporal_encoder().learned, learner.text_adapter()
        align(units, text, data.train, data.source, data.grid_sizes, params.directions)

    return start


def learned_tensors(learner: Learner) -> dict[str, Tensor]:
    """A copy of everything that is learned: what takes gradients, and what was fitted."""
    kept = {name for name, p in learner.named_parameters() if p.requires_grad}
    kept |= {name for name, _ in learner.retriever.named_buffers(prefix="retriever")}
    return {
        name: value.detach().cpu().clone()
        for name, value in learner.state_dict().items()
        if name in kept and ".bridge." not in name
    }


def run_key(params: FinetuneParams, data: TrainingData, backbone: Backbone, window: int) -> str:
    """Tells one training from another, so that none goes on from another's state."""
    digest = hashlib.sha256(f"{backbone.name} {window} {data.grid_sizes}".encode())
    digest.update(params.model_dump_json().encode())
    for split in (data.train, data.val):
        for word in (*split.video_ids, *split.texts):
            digest.update(word.encode() + b"\0")
    return digest.hexdigest()


def _seed_of(seed: int, epoch: int) -> int:
    digest = hashlib.sha256(f"{seed} {epoch}".encode())
    return int.from_bytes(digest.digest()[:7])
