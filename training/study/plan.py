"""Plans the study: trials, each a set of images and a way to train on them; stores finished ones.

A trial is trained on one seed at a time, and every measured image set of it gives ranks.
`build/study/ranks/<digest>.npz` holds the arrays of one trial and seed by name, so that nothing
runs twice. The digest covers the trial, the seed and every parameter that affects them.
"""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from qasir.artifacts import atomic_write
from qasir.config import Params
from training.evaluate.rows import Sampling, Variant

SEEDS = (0, 1, 2)
# The recipe of the served model: nothing is changed.
SERVED = ""
CHEAP, FINE = "lite", "lite2"
FINE_GRID = 2

# R for each N with cells aligned to a feature map of stride 32: less compute than served, and
# more, as long as it stays below the compute of single frames.
SMALLER: Mapping[int, int] = {2: 256, 3: 288, 4: 256}
LARGER: Mapping[int, int] = {2: 384, 4: 512}

# Ranks int64 [Q], scores float32 [Q, V] or one number.
Stored: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Images:
    """One set of encodings of the corpus: backbone, N, R; N = 1 at a small R is low-res."""

    backbone: str
    grid_size: int
    resolution: int

    @property
    def name(self) -> str:
        return f"{self.backbone}-n{self.grid_size}-r{self.resolution}"


@dataclass(frozen=True)
class Pair:
    """A hybrid: cheap images of the whole library, fine images of the best k videos."""

    cheap: Images
    fine: Images

    def __str__(self) -> str:
        halves = (f"{i.backbone} N = {i.grid_size}" for i in (self.cheap, self.fine))
        return ", then ".join(halves)


@dataclass(frozen=True)
class Trial:
    """One retriever per seed and the images that it is measured on.

    recipe: what differs from the served model; changes: values in `params.finetune` by dotted
    name; images: what it is trained on, one per N; measured: a subset of them; ratios: residual
    ratios set by hand afterwards, each a recipe of its own.
    """

    recipe: str
    variant: Variant
    images: tuple[Images, ...]
    measured: tuple[Images, ...]
    sampling: Sampling = "super-image"
    changes: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = SEEDS
    ratios: tuple[float, ...] = ()

    def __str__(self) -> str:
        names = ", ".join(images.name for images in self.images)
        return f"{self.variant} {self.recipe or 'as served'} on {names}"

    @property
    def key(self) -> dict[str, Any]:
        """Returns everything but the seed that determines its ranks."""
        return {
            "recipe": self.recipe,
            "variant": self.variant,
            "images": [images.name for images in self.images],
            "changes": dict(self.changes),
        }


# Each trained part left out once.
ABLATIONS: Mapping[str, Mapping[str, Any]] = {
    "no temporal encoder": {"retriever.temporal_encoder": False},
    "no image adapter": {"retriever.image_adapter": False},
    "no text adapter": {"retriever.text_adapter": False},
    "one adapter for every N": {"retriever.grid_embedding": False},
    "super images alone": {"cell_branch": False},
    "cells alone": {"super_image_branch": False},
    "no gradient steps": {"epochs": 0},
    "no familiarity": {"familiarity": False},
}
RATIOS = (0.0, 0.25, 0.5, 0.75, 1.0)


def trials(grids: Mapping[int, int]) -> Iterator[Trial]:
    """Yields the whole study over the served grids (N -> R), the most informative trials first."""
    served = image_set(CHEAP, grids)
    yield Trial(SERVED, "fine-tuned", served, served, ratios=RATIOS)
    yield from _zero_shot(grids, served)
    fine = image_set(FINE, {1: grids[1], FINE_GRID: grids[FINE_GRID]})
    yield Trial(SERVED, "fine-tuned", fine, fine)
    for images in served:
        yield Trial("one N", "fine-tuned", (images,), (images,))
    for images in low_resolution(grids):
        yield Trial("one N", "fine-tuned", (images,), (images,), "low-res")
    for recipe, changes in ABLATIONS.items():
        yield Trial(recipe, "fine-tuned", served, served, changes=changes)
    for other in (SMALLER, LARGER):
        resized = image_set(CHEAP, {**grids, **other})
        if changed := tuple(i for i in resized if i not in served):
            yield Trial(SERVED, "fine-tuned", resized, changed)


def hybrids(grids: Mapping[int, int]) -> Iterator[Pair]:
    """Yields pairs of two models, then of one checkpoint at two grid sizes."""
    cheap = {n: Images(CHEAP, n, r) for n, r in grids.items()}
    yield Pair(cheap[4], Images(FINE, FINE_GRID, grids[FINE_GRID]))
    yield Pair(cheap[4], cheap[1])
    yield Pair(cheap[2], cheap[1])


def _zero_shot(grids: Mapping[int, int], served: tuple[Images, ...]) -> Iterator[Trial]:
    """Yields zero-shot trials; nothing is trained, so they need one seed."""
    fine = image_set(FINE, {1: grids[1], FINE_GRID: grids[FINE_GRID]})
    resized = (*image_set(CHEAP, SMALLER), *image_set(CHEAP, LARGER))
    for images in dict.fromkeys((*served, *fine, *resized)):
        yield Trial(SERVED, "zero-shot", (images,), (images,), seeds=(0,))
    for images in low_resolution(grids):
        yield Trial(SERVED, "zero-shot", (images,), (images,), "low-res", seeds=(0,))


def image_set(backbone: str, grids: Mapping[int, int]) -> tuple[Images, ...]:
    """Returns one set of encodings per N."""
    return tuple(Images(backbone, n, r) for n, r in sorted(grids.items()))


def low_resolution(grids: Mapping[int, int]) -> tuple[Images, ...]:
    """Returns single frames of the size of a cell at N: equal compute, N^2 times the encodings.

    >>> [images.resolution for images in low_resolution({1: 224, 2: 256, 3: 288})]
    [128, 96]
    """
    return tuple(Images(CHEAP, 1, r // n) for n, r in sorted(grids.items()) if n > 1)


class Store:
    """Results of trials in a folder."""

    def __init__(self, folder: Path, params: Params) -> None:
        self._folder = folder
        self._facts = params.model_dump(mode="json", include={"prepare", "encode", "finetune"})

    def get(self, trial: Trial, seed: int) -> Mapping[str, Stored] | None:
        """Reads the results of a trial; None if it is not finished."""
        try:
            # The file is opened here: np.load leaves one that it cannot read open.
            with (
                self._path(trial, seed).open("rb") as file,
                np.load(file, allow_pickle=False) as arrays,
            ):
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def put(self, trial: Trial, seed: int, results: Mapping[str, Stored]) -> None:
        """Writes the results of a trial; after this returns they survive an interruption."""
        with atomic_write(self._path(trial, seed)) as file:
            np.savez_compressed(file, allow_pickle=False, **dict(results))

    def _path(self, trial: Trial, seed: int) -> Path:
        facts: dict[str, Any] = {**trial.key, "seed": seed, "params": self._facts}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        return self._folder / f"{digest[:20]}.npz"
