"""Stage `evaluate`: every number of the zero-shot model, from cached vectors.

    python -m training.evaluate

tau is chosen on validation; the test split is only ever measured.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from qasir.config import Params, load_params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.scoring import Pooling
from qasir.types import Int64
from training.dataset import read_split
from training.encode import VECTORS
from training.groups import group_rows
from training.macs import gmacs_per_image
from training.measures import Setting, measure
from training.parts import Part, read_parts
from training.pools import Pool, long_pools, natural, sparse, sparse_rows
from training.prepare import DATASET
from training.progress import progress_bar
from training.results import RESULTS, Evaluation, write_results
from training.study import LengthRow, Sampling, StudyRow
from training.tau import choose_tau, write_tau
from training.towers import encode_texts

TAU_FILE = Path("build/evaluate/tau.json")
VARIANT = "zero-shot"
POOLINGS: tuple[Pooling, ...] = ("attention", "mean", "max")


@dataclass(frozen=True)
class Images:
    """What a pool was made of: the kind of sampling, R, and encodings and GMACs per video."""

    sampling: Sampling
    resolution: int
    encodes: float
    gmacs: float


def load_parts(params: Params, backbone: Backbone) -> tuple[list[Part], list[Part]]:
    """Validation and test parts, one a grid size; no validation where there is no val split."""
    train, val, test = (read_split(DATASET, split) for split in ("train", "val", "test"))
    splits = [(s, encode_texts(backbone, [q.text for q in s.queries])) for s in (val, test)]
    validation, tested = [], []
    for grid_size in sorted(params.grids):
        on_val, on_test = read_parts(VECTORS / str(grid_size), grid_size, splits, train)
        validation += [on_val] if on_val.queries else []
        tested.append(on_test)
    return validation, tested


def evaluate(params: Params, backbone: Backbone, tested: Sequence[Part], tau: float) -> Evaluation:
    """Measure the test split at every grid size."""
    settings = [Setting(pooling, tau) for pooling in POOLINGS]
    frames = next((part for part in tested if part.grid_size == 1), None)
    gmacs = {r: gmacs_per_image(backbone, r) for r in {g.resolution for g in params.grids.values()}}
    result = Evaluation()
    with progress_bar("evaluating", len(tested)) as advance:
        for part in tested:
            ranks = result.ranks.setdefault(part.grid_size, {})
            for images, pool in _samplings(params, gmacs, part, frames):
                ranked = part.rank(pool, settings)
                result.study.extend(_study_rows(params, part, images, ranked))
                ranks.update(_columns(images.sampling, ranked))
            result.lengths.extend(_length_rows(params, part, settings))
            edges = params.evaluate.moment_ratio_edges
            result.groups.extend(group_rows(part, ranks["attention"], edges))
            advance()
    return result


def _samplings(
    params: Params, gmacs: Mapping[int, float], part: Part, frames: Part | None
) -> Iterator[tuple[Images, Pool]]:
    """Super images, and at equal encodings single frames where N = 1 is encoded too.

    `gmacs` of one image, by R.
    """

    def images(sampling: Sampling, grid_size: int, counts: Sequence[int]) -> Images:
        resolution, encodes = params.resolution(grid_size), float(np.mean(counts))
        return Images(sampling, resolution, encodes, encodes * gmacs[resolution])

    counts = [len(video.vectors) for video in part.videos.values()]
    yield images("super-image", part.grid_size, counts), natural(part.videos)
    if frames is not None and part is not frames:
        lengths = [len(video.vectors) for video in frames.videos.values()]
        counts = [len(sparse_rows(length, part.grid_size)) for length in lengths]
        yield images("sparse", 1, counts), sparse(frames.videos, part.grid_size)


def _study_rows(
    params: Params, part: Part, images: Images, ranked: Sequence[Int64]
) -> Iterator[StudyRow]:
    for pooling, ranks in zip(POOLINGS, ranked, strict=True):
        yield StudyRow(
            dataset=params.prepare.dataset,
            split="test",
            backbone=params.encode.backbone,
            variant=VARIANT,
            pooling=pooling,
            unit="super-image",
            sampling=images.sampling,
            grid_size=part.grid_size,
            resolution=images.resolution,
            fps=params.encode.fps,
            **asdict(measure(ranks, len(part.videos))),
            encodes_per_video=images.encodes,
            gmacs_per_video=images.gmacs,
            seeds=1,  # nothing is trained, so nothing varies with a seed
        )


def _columns(sampling: Sampling, ranked: Sequence[Int64]) -> dict[str, Int64]:
    prefix = "" if sampling == "super-image" else f"{sampling}-"
    return {f"{prefix}{pooling}": r for pooling, r in zip(POOLINGS, ranked, strict=True)}


def _length_rows(params: Params, part: Part, settings: Sequence[Setting]) -> Iterator[LengthRow]:
    chosen = params.evaluate
    pools: list[tuple[int | str, Pool]] = [("natural", natural(part.videos))]
    pools += long_pools(part.videos, part.filler, chosen.lengths, chosen.seed)
    for name, pool in pools:
        for setting, ranks in zip(settings, part.rank(pool, settings), strict=True):
            size = float(name) if isinstance(name, int) else part.super_images_per_video
            measures = measure(ranks, len(part.videos))
            yield LengthRow(part.grid_size, setting.pooling, name, size, measures)


def main() -> None:
    params = load_params()
    backbone = load_backbone(params.encode.backbone)
    validation, tested = load_parts(params, backbone)
    choice = choose_tau(validation, params.evaluate)
    evaluation = evaluate(params, backbone, tested, choice.tau)
    write_tau(choice, TAU_FILE)
    write_results(evaluation, choice, {p.grid_size: p.queries for p in tested}, RESULTS)


if __name__ == "__main__":
    main()
