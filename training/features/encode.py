"""Stage `encode@N`: encodes every video of the dataset with the frozen backbone, resumable.

    python -m training.features.encode 2

A broken or missing video is reported, skipped and counted; it does not stop the stage.
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
from qasir.vectors import VideoVectors, join
from training.data.dataset import SPLITS, find_videos, read_split
from training.features.cache import FeatureCache
from training.features.decoding import (
    DecodedBatch,
    Finished,
    Sampling,
    Step,
    Undecodable,
    decode_ahead,
)
from training.features.towers import ImageTower, open_image_tower
from training.outputs import DATASET, FEATURES, videos_folder
from training.progress import console, progress_bar

REPORT_NAME = "report.json"


@dataclass
class Report:
    """How many videos were encoded and which were not; equal inputs give equal reports."""

    videos: int
    encoded: int = 0
    broken: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


class Encoder:
    """Encodes batches and collects them by video until each video is complete."""

    def __init__(self, spec: EmbeddingSpec, tower: ImageTower) -> None:
        self._spec = spec
        self._tower = tower
        self._parts: dict[str, list[VideoVectors]] = {}

    def add(self, decoded: DecodedBatch) -> None:
        """Encodes one batch of super images."""
        batch = decoded.batch
        features = self._tower(batch.pixels, batch.mask).astype(np.float16)
        part = VideoVectors(self._spec, features, batch.mask, batch.times)
        self._parts.setdefault(decoded.video_id, []).append(part)

    def finish(self, video_id: str) -> VideoVectors:
        """Returns the whole video and forgets it."""
        return join(self._parts.pop(video_id))

    def discard(self, video_id: str) -> None:
        self._parts.pop(video_id, None)


def spec_of(backbone: Backbone, sampling: Sampling) -> EmbeddingSpec:
    """Returns the spec of features: a window of one super image, D = F'."""
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
    """Brings a folder of features up to date with the dataset.

    Raises:
        InvalidInput: no video of the dataset is in `videos`, or the backbone does not read
            this R.
    """
    cache = FeatureCache(folder, spec_of(backbone, sampling))
    ids = [video.video_id for split in SPLITS for video in read_split(dataset, split).videos]
    files = _locate(ids, videos)
    report = Report(len(ids), missing=[i for i in ids if i not in files])
    todo = {i: path for i, path in files.items() if not cache.holds(i, path)}
    if todo:
        tower = open_image_tower(backbone, sampling.resolution, sampling.grid_size)
        _encode_all(todo, Encoder(cache.spec, tower), cache, sampling, report)
    report.encoded = len(files) - len(report.broken)
    cache.finish(set(files) - set(report.broken))
    _write_report(report, folder)
    return report


def _locate(ids: list[str], folder: Path) -> dict[str, Path]:
    available = find_videos(folder)
    files = {video_id: available[video_id] for video_id in ids if video_id in available}
    if not files:
        raise InvalidInput(
            f"none of the dataset's {len(ids)} videos is in {folder}; set prepare.videos in "
            "params.yaml to the folder that holds them as <video id>.<any extension>"
        )
    return files


def _encode_all(
    todo: Mapping[str, Path],
    encoder: Encoder,
    cache: FeatureCache,
    sampling: Sampling,
    report: Report,
) -> None:
    title = f"encoding at N = {sampling.grid_size}, R = {sampling.resolution}"
    with progress_bar(title, len(todo)) as advance:
        for step in decode_ahead(todo, sampling):
            _handle(step, todo, encoder, cache, report)
            if not isinstance(step, DecodedBatch):
                advance()


def _handle(
    step: Step, todo: Mapping[str, Path], encoder: Encoder, cache: FeatureCache, report: Report
) -> None:
    match step:
        case DecodedBatch():
            encoder.add(step)
        case Finished(video_id):
            cache.add(video_id, todo[video_id], encoder.finish(video_id))
        case Undecodable(video_id, error):
            encoder.discard(video_id)
            report.broken[video_id] = f"{error.code}: {error}"
            console.print(f"skipped {video_id}: {error}", style="yellow")


def _write_report(report: Report, folder: Path) -> None:
    report.broken = dict(sorted(report.broken.items()))
    with atomic_write(folder / REPORT_NAME) as file:
        file.write(json.dumps(asdict(report), indent=2).encode() + b"\n")


def sampling_of(params: Params, grid_size: int) -> Sampling:
    """Returns how params.yaml samples at one grid size."""
    return Sampling(
        params.encode.fps, grid_size, params.resolution(grid_size), params.encode.batch_size
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode the dataset at one grid size.")
    parser.add_argument("grid_size", type=int, metavar="N")
    grid_size = parser.parse_args().grid_size
    params = load_params()
    backbone = load_backbone(params.encode.backbone)
    folder = FEATURES / str(grid_size)
    sampling = sampling_of(params, grid_size)
    report = encode(backbone, sampling, DATASET, videos_folder(params), folder)
    console.print(
        f"N = {grid_size}: {report.encoded} of {report.videos} videos encoded, "
        f"{len(report.broken)} broken, {len(report.missing)} missing"
    )


if __name__ == "__main__":
    main()
