"""Runs trials: encodes missing images, trains, ranks the test split, returns the ranks."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from qasir.config import FinetuneParams, Params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.retriever import Retriever, zero_shot
from training.data.dataset import Split
from training.evaluate.corpus import (
    EvalSplit,
    FeatureSet,
    Texts,
    encode_queries,
    encode_split,
    gmacs_per_image,
    read_feature_set,
    read_texts,
    sparse,
)
from training.evaluate.fusion import choose_branches
from training.evaluate.scores import Setting, score_pool
from training.evaluate.variant import rank_split
from training.features.encode import Sampling, encode
from training.outputs import DATASET, FEATURES, videos_folder
from training.study.plan import SERVED, Images, Stored, Trial, image_set
from training.train.finetune import read_data
from training.train.trainable_retriever import ADAPTERS, TrainableRetriever
from training.train.trainer import Start, TrainingData, closed_form, train

# The retriever's parameters that the closed-form fit of adapters depends on.
FIT_PARAMS = {"dim", "image_adapter", "text_adapter", "grid_embedding"}


class StudyContext:
    """What trials share: parameters, encodings in a folder, fitted adapters, recent reads."""

    def __init__(self, params: Params, folder: Path) -> None:
        self.params = params
        self.folder = folder
        self.starts = Starts()
        # Bounded: trials that share images follow each other.
        self.features = lru_cache(maxsize=8)(self._features)
        self.training_data = lru_cache(maxsize=2)(self._training_data)
        self.gmacs = cache(self._gmacs)

    def encode(self, images: Images) -> Path:
        """Brings the features of these images up to date; returns their folder.

        The pipeline's own features are used where they exist.
        """
        params, n = self.params.encode, images.grid_size
        grids = {n: grid.resolution for n, grid in self.params.grids.items()}
        served = images in image_set(params.backbone, grids)
        folder = FEATURES / str(n) if served else self.folder / images.name
        sampling = Sampling(params.fps, n, images.resolution, params.batch_size)
        videos = videos_folder(self.params)
        encode(backbone_of(images.backbone), {sampling: folder}, DATASET, videos)
        return folder

    def _features(self, images: Images) -> FeatureSet:
        subsets = texts_of(images.backbone).subsets
        return read_feature_set(self.encode(images), images.grid_size, subsets)

    def _gmacs(self, images: Images) -> float:
        backbone = backbone_of(images.backbone)
        return gmacs_per_image(backbone, images.resolution, images.grid_size)

    def _training_data(self, images: tuple[Images, ...]) -> TrainingData:
        folders = {i.grid_size: self.encode(i) for i in images}
        return read_data(backbone_of(images[0].backbone), DATASET, folders)

    def split(
        self, retriever: Retriever, images: Images, features: FeatureSet, split: Split
    ) -> EvalSplit:
        """Encodes a split of these images; only videos of validation can be lengthened."""
        texts, params, filler = texts_of(images.backbone), self.params.encode, split == "val"
        return encode_split(retriever, features, texts, params, split, filler=filler)


class Starts:
    """Adapters of the closed-form fit, by the images and parameters that determine them."""

    def __init__(self) -> None:
        self._fitted: dict[str, dict[str, Tensor]] = {}

    def of(self, images: Sequence[Images], params: FinetuneParams, data: TrainingData) -> Start:
        """Returns a start like `closed_form` that reuses an earlier fit."""
        facts = params.retriever.model_dump(include=FIT_PARAMS)
        key = repr((images, params.directions, sorted(facts.items())))

        def start(trainable: TrainableRetriever) -> None:
            if key in self._fitted:
                trainable.load_state_dict(self._fitted[key], strict=False)
                return
            closed_form(params, data)(trainable)
            self._fitted[key] = {
                name: value.clone()
                for name, value in trainable.state_dict().items()
                if name.startswith(ADAPTERS)
            }

        return start


@cache
def backbone_of(name: str) -> Backbone:
    return load_backbone(name)


@cache
def texts_of(name: str) -> Texts:
    return read_texts(DATASET, backbone_of(name))


def run_trial(context: StudyContext, trial: Trial, seed: int) -> Mapping[str, Stored]:
    """Trains and measures one trial; returns ranks [Q] of the test split and costs by name."""
    backbone, params = backbone_of(trial.images[0].backbone), context.params
    if trial.variant == "zero-shot":
        (images,) = trial.images
        val = context.split(zero_shot(backbone, {}), images, context.features(images), "val")
        retriever = zero_shot(backbone, choose_branches([val], params.evaluate).branches)
    else:
        finetune = changed(params.finetune, {**trial.changes, "seed": seed})
        data = context.training_data(trial.images)
        start = context.starts.of(trial.images, finetune, data)
        retriever = train(finetune, data, backbone, params.encode.window, start=start)
    return {**_sparse(context, trial, retriever), **dict(_measure(context, trial, retriever))}


def name_of(images: Images, unit: str, pooling: str, ratio: float | None = None) -> str:
    """Names ranks in the store; `ratio` is a residual ratio set by hand."""
    suffix = "" if ratio is None else f" ratio {ratio:g}"
    return f"{images.name} {unit} {pooling}{suffix}"


def encodes_name(images: Images) -> str:
    """Names the mean number of encodings per video."""
    return f"{images.name} encodes"


def scores_name(images: Images) -> str:
    """Names the scores [Q, V] of both branches, from which hybrids are computed."""
    return f"{images.name} scores"


def changed(params: FinetuneParams, changes: Mapping[str, Any]) -> FinetuneParams:
    """Returns the parameters with some values replaced, by dotted name."""
    values = params.model_dump()
    for name, value in changes.items():
        section, _, key = name.rpartition(".")
        (values[section] if section else values)[key] = value
    return FinetuneParams.model_validate(values)


def _measure(
    context: StudyContext, trial: Trial, retriever: Retriever
) -> Iterator[tuple[str, Stored]]:
    for images in trial.measured:
        split = context.split(retriever, images, context.features(images), "test")
        branches = retriever.branches[images.grid_size]
        both = [Setting("both", "attention", branches)]
        for setting, ranks in rank_split(split, branches).items():
            yield name_of(images, setting.unit, setting.pooling), ranks
        yield encodes_name(images), np.array(split.super_images_per_video)
        if trial.recipe == SERVED:
            yield scores_name(images), score_pool(split.query_vectors, split.natural, both)[0]
        # Residual ratios set by hand change queries only.
        chosen, vectors = retriever.residual_ratio, texts_of(images.backbone).vectors["test"]
        for ratio in trial.ratios:
            retriever.set_residual_ratio(ratio)
            asked = replace(split, query_vectors=encode_queries(retriever, vectors))
            yield name_of(images, "both", "attention", ratio), asked.rank(asked.natural, both)[0]
        if trial.ratios:
            retriever.set_residual_ratio(chosen)


def _sparse(context: StudyContext, trial: Trial, retriever: Retriever) -> dict[str, Stored]:
    """Ranks by as few single frames as there are super images at every N, if there are frames."""
    frames, *others = trial.measured
    if frames.grid_size != 1 or trial.recipe != SERVED:
        return {}
    setting = Setting("super-image", "attention", retriever.branches[1])
    ranks: dict[str, Stored] = {}
    for images in others:
        few = sparse(context.features(frames), images.grid_size)
        split = context.split(retriever, frames, few, "test")
        (ranks[name_of(images, "sparse", "attention")],) = split.rank(split.natural, [setting])
    return ranks
