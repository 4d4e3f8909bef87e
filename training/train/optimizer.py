"""Builds AdamW with a learning rate per kind of parameter, and schedules the rate."""

import math

import torch
from torch import nn

from qasir.config import FinetuneParams
from training.train.trainable_retriever import TrainableRetriever

# Temperatures, weights and scale are few and matter from the start, so their steps are larger.
SCALAR_SHARE = 5.0
SCALARS = ("branches.", "log_scale")
ADAPTERS = ("retriever.video.learned.adapter.", "retriever.text.")
TOWERS = "towers."


def new_optimizer(trainable: TrainableRetriever, params: FinetuneParams) -> torch.optim.Optimizer:
    """Groups parameters by their `share` of the learning rate.

    Adapters move at `adapter_rate`, because they start from a closed-form fit; towers have a rate
    of their own.
    """
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in trainable.named_parameters():
        if parameter.requires_grad:
            pace = _pace(name, parameter, params)
            groups.setdefault(pace, []).append(parameter)
    listed = [
        {"params": members, "share": share, "weight_decay": decay}
        for (share, decay), members in groups.items()
    ]
    return torch.optim.AdamW(listed, lr=params.learning_rate)


def _pace(name: str, parameter: nn.Parameter, params: FinetuneParams) -> tuple[float, float]:
    """Returns the share of the learning rate, and weight decay."""
    if name.startswith(SCALARS):
        return SCALAR_SHARE, 0.0
    if name.startswith(ADAPTERS):
        return params.adapter_rate, 0.0
    share = params.tuning.learning_rate / params.learning_rate if name.startswith(TOWERS) else 1.0
    return share, params.weight_decay if parameter.ndim > 1 else 0.0


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Sets every group to its share of `rate`."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def learning_rate(params: FinetuneParams, epochs: float) -> float:
    """Rises linearly over `warm_up` epochs, then falls along a cosine to zero."""
    if epochs < params.warm_up:
        return params.learning_rate * epochs / params.warm_up
    progress = (epochs - params.warm_up) / max(1, params.epochs - params.warm_up)
    return params.learning_rate * (1 + math.cos(math.pi * progress)) / 2
