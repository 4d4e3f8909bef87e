"""An interrupted training as a file: whole or absent, and never taken for another's."""

import io
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from qasir.artifacts import atomic_write
from qasir.manifest import ScoreFusion
from training.course import Epoch


@dataclass(frozen=True)
class TrainingState:
    """Everything that the next epoch depends on, and the best so far.

    key: of which parameters and data; learner and best: learned tensors by name.
    """

    key: str
    epochs: Sequence[Epoch]
    learner: Mapping[str, Tensor]
    optimizer: dict[str, Any]
    best: Mapping[str, Tensor]


def write_state(state: TrainingState, path: Path) -> None:
    """Write the file whole."""
    plain = vars(state) | {"epochs": [_plain(epoch) for epoch in state.epochs]}
    buffer = io.BytesIO()
    torch.save(plain, buffer)
    with atomic_write(path) as file:
        file.write(buffer.getvalue())


def read_state(path: Path | None, key: str) -> TrainingState | None:
    """The state of a training of this key; None where there is none, so that it starts over."""
    if path is None or not path.is_file():
        return None
    try:
        plain = torch.load(path, weights_only=True)
        state = TrainingState(**plain | {"epochs": [_epoch(row) for row in plain["epochs"]]})
    except (OSError, RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError):
        return None
    return state if state.key == key else None


def _plain(epoch: Epoch) -> dict[str, Any]:
    row = {name: getattr(epoch, name) for name in epoch.__dataclass_fields__}
    return row | {"branches": {n: b.model_dump() for n, b in epoch.branches.items()}}


def _epoch(row: dict[str, Any]) -> Epoch:
    branches = {n: ScoreFusion.model_validate(b) for n, b in row["branches"].items()}
    return Epoch(**row | {"branches": branches})
