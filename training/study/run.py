"""Runs trials: encode what is missing, train, rank the test split, keep the ranks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from qasir.config import FinetuneParams, GridParams, Params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.retriever import Retriever, zero_shot
from qasir.scoring import Pooling
from training.apply import encode_queries
from training.branches import choose_branches
from training.corpus import FeatureSet, Texts, read_feature_set, read_texts, sparse
from training.encode import FEATURES, encode, sampling_of
from training.finetune import read_data
from training.macs import gmacs_per_image
from training.parts import Part, part_of
from training.prepare import DATASET, VIDEOS
from training.scores import Setting, Unit, score_pool
from training.study.plan import SERVED, Images, Trial
from training.study.start import Starts
from training.study.store import Kept
from training.trainer import TrainingData, train

UNITS: tuple[Unit, ...] = ("super-image", "cell", "both")
POOLINGS: tuple[Pooling, ...] = ("attention", "mean", "max")


class Workshop:
    """Everything trials share: parameters, encodings in a folder, and what was read last."""

    def __init__(self, params: Params, folder: Path) -> None:
        self.params = params
        self.folder = folder
        self.starts = Starts()
        # Bounded: trials that share images come one after the other.
        self.features = lru_cache(maxsize=8)(self._features)
        self.training_data = lru_cache(maxsize=2)(self._training_data)
        self.gmacs = cache(self._gmacs)

    def params_of(self, images: Sequence[Images]) -> Params:
        """The parameters with the grids of these images."""
        grids = {i.grid_size: GridParams(resolution=i.resolution) for i in images}
        served = self.params.serve.model_copy(update={"grid_sizes": tuple(grids)})
        encoding = self.params.encode.model_copy(update={"backbone": images[0].backbone})
        changes = {"grids": grids, "serve": served, "encode": encoding}
        return self.params.model_copy(update=changes)

    def encode(self, images: Images) -> Path:
        """The folder of features of these images, brought up to date; the pipeline's own where it
        has them."""
        params = self.params_of([images])
        folder = self.folder / images.name
        if self._is_served(images):
            folder = FEATURES / str(images.grid_size)
        videos = params.prepare.videos or VIDEOS
        sampling = sampling_of(params, images.grid_size)
        encode(backbone_of(images.backbone), sampling, DATASET, videos, folder)
        return folder

    def _is_served(self, images: Images) -> bool:
        grid = self.params.grids.get(images.grid_size)
        own = grid is not None and grid.resolution == images.resolution
        return own and images.backbone == self.params.encode.backbone

    def _features(self, images: Images) -> FeatureSet:
        """Features of val and test, and of train what lengthens other videos."""
        subsets = texts_of(images.backbone).subsets
        return read_feature_set(self.encode(images), images.grid_size, subsets)

    def _gmacs(self, images: Images) -> float:
        """10^9 multiply-accumulates of one image."""
        backbone = backbone_of(images.backbone)
        return gmacs_per_image(backbone, images.resolution, images.grid_size)

    def _training_data(self, images: tuple[Images, ...]) -> TrainingData:
        """Train and val of these images, one set for each N."""
        folders = {i.grid_size: self.encode(i) for i in images}
        return read_data(backbone_of(images[0].backbone), DATASET, folders)


@cache
def backbone_of(name: str) -> Backbone:
    return load_backbone(name)


@cache
def texts_of(name: str) -> Texts:
    return read_texts(DATASET, backbone_of(name))


def run_trial(shop: Workshop, trial: Trial, seed: int) -> Mapping[str, Kept]:
    """Ranks [Q] of the test split by name, and what goes with them; see the names below."""
    if trial.variant == "zero-shot":
        retriever = _zero_shot(shop, trial.measured[0])
    else:
        retriever = _train(shop, trial, seed)
    return dict(_measure(shop, trial, retriever))


def name_of(images: Images, unit: str, pooling: str, ratio: float | None = None) -> str:
    """How ranks are called in the store: `ratio` is a residual ratio set by hand."""
    suffix = "" if ratio is None else f" ratio {ratio:g}"
    return f"{images.name} {unit} {pooling}{suffix}"


def encodes_name(images: Images) -> str:
    """Under which the mean number of encodings a video is kept."""
    return f"{images.name} encodes"


def scores_name(images: Images) -> str:
    """Under which the scores [Q, V] of both branches are kept: what a hybrid is made of."""
    return f"{images.name} scores"


def _zero_shot(shop: Workshop, images: Images) -> Retriever:
    backbone, params = backbone_of(images.backbone), shop.params_of([images])
    texts = texts_of(images.backbone)
    unscored, features = zero_shot(backbone, {}), shop.features(images)
    part = part_of(unscored, features, texts, params.encode, "val", filler=True)
    return zero_shot(backbone, choose_branches([part], params.evaluate).branches)


def _train(shop: Workshop, trial: Trial, seed: int) -> Retriever:
    settings = changed(shop.params.finetune, {**trial.changes, "seed": seed})
    data = shop.training_data(trial.images)
    backbone, start = backbone_of(trial.images[0].backbone), shop.starts.of
    return train(
        settings,
        data,
        backbone,
        shop.params.encode.window,
        start=start(trial.images, settings, data),
    )


def changed(params: FinetuneParams, changes: Mapping[str, Any]) -> FinetuneParams:
    """Parameters with some values replaced, by dotted name."""
    values = params.model_dump()
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        (values[section] if section else values)[key] = value
    return FinetuneParams.model_validate(values)


def _measure(shop: Workshop, trial: Trial, retriever: Retriever) -> Iterator[tuple[str, Kept]]:
    yield from _sparse(shop, trial, retriever)
    for images in trial.measured:
        part, branches = _part(shop, images, retriever), retriever.branches[images.grid_size]
        settings = [Setting(unit, p, branches) for unit in UNITS for p in POOLINGS]
        for setting, ranks in zip(settings, part.rank(part.natural, settings), strict=True):
            yield name_of(images, setting.unit, setting.pooling), ranks
        yield encodes_name(images), np.array(part.super_images_per_video)
        if trial.recipe == SERVED:
            both = Setting("both", "attention", branches)
            yield scores_name(images), score_pool(part.query_vectors, part.natural, [both])[0]
        yield from _ratios(trial, images, retriever, part)


def _part(
    shop: Workshop, images: Images, retriever: Retriever, features: FeatureSet | None = None
) -> Part:
    texts, params = texts_of(images.backbone), shop.params.encode
    chosen = features or shop.features(images)
    return part_of(retriever, chosen, texts, params, "test", filler=False)


def _sparse(shop: Workshop, trial: Trial, retriever: Retriever) -> Iterator[tuple[str, Kept]]:
    """Single frames, as few as the super images of every N, where a trial has frames."""
    frames, *others = trial.measured
    if frames.grid_size != 1 or trial.recipe != SERVED:
        return
    setting = Setting("super-image", "attention", retriever.branches[1])
    for images in others:
        few = sparse(shop.features(frames), images.grid_size)
        part = _part(shop, frames, retriever, few)
        yield name_of(images, "sparse", "attention"), part.rank(part.natural, [setting])[0]


def _ratios(
    trial: Trial, images: Images, retriever: Retriever, part: Part
) -> Iterator[tuple[str, Kept]]:
    """The same retriever at residual ratios set by hand: only queries change."""
    chosen, vectors = retriever.residual_ratio, texts_of(images.backbone).vectors["test"]
    setting = Setting("both", "attention", retriever.branches[images.grid_size])
    for ratio in trial.ratios:
        retriever.set_residual_ratio(ratio)
        asked = replace(part, query_vectors=encode_queries(retriever, vectors))
        yield name_of(images, "both", "attention", ratio), asked.rank(part.natural, [setting])[0]
    if trial.ratios:
        retriever.set_residual_ratio(chosen)
