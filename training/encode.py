"""Stage `encode@N`: every video of the dataset to features of the frozen backbone, resumable.

    python -m training.encode 2

One broken or missing video is reported, skipped and counted; it does not stop the stage.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from qasir.artifacts import atomic_write
from qasir.config import Params, load_params
from qasir.errors import InvalidInput
from qasir.manifest import EmbeddingSpec, Preprocessing, fingerprint
from qasir.modeling.backbones import Backbone, load_backbone, tensors_digest
from qasir.types import Float16
from training.dataset import SPLITS, find_videos, read_split
from training.decoding import Broken, Finished, Part, Sampling, Step, decode_ahead
from training.feature_cache import FeatureCache
from training.features import VideoFeatures
from training.prepare import DATASET, VIDEOS
from training.progress import console, progress_bar
from training.towers import ImageTower, open_image_tower

FEATURES = Path("data/features")
REPORT_NAME = "report.json"


@dataclass
class Report:
    """What became of every video: no clocks here, equal inputs give equal reports."""

    videos: int
    encoded: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


class Assembly:
    """Collects the parts of the videos in flight until each is whole."""

    def __init__(self, spec: EmbeddingSpec, tower: ImageTower) -> None:
        self._spec = spec
        self._tower = tower
        self._parts: dict[str, list[tuple[Part, Float16]]] = {}

    def add(self, part: Part) -> None:
        """Encode one batch of super images."""
        features = self._tower(part.batch.pixels, part.batch.mask).astype(np.float16)
        self._parts.setdefault(part.video_id, []).append((part, features))

    def take(self, video_id: str) -> VideoFeatures:
        """The whole video; it is in flight no longer."""
        parts = self._parts.pop(video_id)
        return VideoFeatures(
            self._spec,
            np.concatenate([features for _, features in parts]),
            np.concatenate([part.batch.mask for part, _ in parts]),
            np.concatenate([part.batch.times for part, _ in parts]),
        )

    def drop(self, video_id: str) -> None:
        self._parts.pop(video_id, None)


def spec_of(backbone: Backbone, sampling: Sampling) -> EmbeddingSpec:
    """What the features of one sampling are made with: a window of one super image, F' numbers."""
    weights = tensors_digest(backbone.image_tower.state_dict())
    return EmbeddingSpec(
        fingerprint=fingerprint(weights, Preprocessing(), backbone.feature_dim, window=1),
        grid_size=sampling.grid_size,
        resolution=sampling.resolution,
        fps=sampling.fps,
    )


def encode(
    backbone: Backbone, sampling: Sampling, dataset: Path, videos: Path, folder: Path
) -> Report:
    """Bring a folder of features up to date with the dataset.

    Raises:
        InvalidInput: not one video of the dataset is in `videos`, or the backbone does not
            read this R.
    """
    cache = FeatureCache(folder, spec_of(backbone, sampling))
    wanted = [video.video_id for split in SPLITS for video in read_split(dataset, split).videos]
    files = _locate(wanted, videos)
    report = Report(len(wanted), missing=[i for i in wanted if i not in files])
    todo = {i: path for i, path in files.items() if not cache.holds(i, path)}
    if todo:
        tower = open_image_tower(backbone, sampling.resolution, sampling.grid_size)
        _encode_all(todo, Assembly(cache.spec, tower), cache, sampling, report)
    report.encoded = len(files) - len(report.broken)
    cache.finish(set(files) - set(report.broken))
    _write_report(report, folder)
    return report


def _locate(wanted: list[str], folder: Path) -> dict[str, Path]:
    found = find_videos(folder)
    files = {video_id: found[video_id] for video_id in wanted if video_id in found}
    if not files:
        raise InvalidInput(
            f"none of the dataset's {len(wanted)} videos is in {folder}; set prepare.videos in "
            "params.yaml to the folder that holds them as <video id>.<any extension>"
        )
    return files


def _encode_all(
    todo: Mapping[str, Path],
    assembly: Assembly,
    cache: FeatureCache,
    sampling: Sampling,
    report: Report,
) -> None:
    title = f"encoding at N = {sampling.grid_size}, R = {sampling.resolution}"
    with progress_bar(title, len(todo)) as advance:
        for step in decode_ahead(todo, sampling):
            _take(step, todo, assembly, cache, report)
            if not isinstance(step, Part):
                advance()


def _take(
    step: Step, todo: Mapping[str, Path], assembly: Assembly, cache: FeatureCache, report: Report
) -> None:
    match step:
        case Part():
            assembly.add(step)
        case Finished(video_id):
            cache.add(video_id, todo[video_id], assembly.take(video_id))
        case Broken(video_id, error):
            assembly.drop(video_id)
            report.broken[video_id] = f"{error.code}: {error}"
            console.print(f"skipped {video_id}: {error}", style="yellow")


def _write_report(report: Report, folder: Path) -> None:
    report.broken = dict(sorted(report.broken.items()))
    with atomic_write(folder / REPORT_NAME) as file:
        file.write(json.dumps(asdict(report), indent=2).encode() + b"\n")


def sampling_of(params: Params, grid_size: int) -> Sampling:
    """How params.yaml samples at one grid size."""
    return Sampling(
        params.encode.fps, grid_size, params.resolution(grid_size), params.encode.batch_size
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode the dataset at one grid size.")
    parser.add_argument("grid_size", type=int, metavar="N")
    grid_size = parser.parse_args().grid_size
    params = load_params()
    backbone = load_backbone(params.encode.backbone)
    videos = params.prepare.videos or VIDEOS
    folder = FEATURES / str(grid_size)
    report = encode(backbone, sampling_of(params, grid_size), DATASET, videos, folder)
    console.print(
        f"N = {grid_size}: {report.encoded} of {report.videos} videos encoded, "
        f"{len(report.broken)} broken, {len(report.missing)} missing"
    )


if __name__ == "__main__":
    main()
