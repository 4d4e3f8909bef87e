"""Stage `encode@N`: every video of the dataset to super-image vectors, resumable.

    python -m training.encode 2

One broken or missing video is reported, skipped and counted; it does not stop the stage.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from qasir.artifacts import whole_file
from qasir.config import Params, load_params
from qasir.errors import InvalidInput
from qasir.manifest import Passport, Preprocessing, fingerprint
from qasir.modeling.backbones import Backbone, load_backbone, weights_digest
from qasir.types import Float32
from qasir.vectors import VideoVectors
from training.dataset import SPLITS, find_videos, read_split
from training.decoding import Broken, Finished, Part, Sampling, Step, decode_ahead
from training.prepare import DATASET, VIDEOS
from training.progress import console, progress_bar
from training.towers import ImageTower, open_image_tower
from training.vector_cache import VectorCache

VECTORS = Path("data/vectors")
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

    def __init__(self, passport: Passport, tower: ImageTower) -> None:
        self._passport = passport
        self._tower = tower
        self._parts: dict[str, list[tuple[Part, Float32]]] = {}

    def add(self, part: Part) -> None:
        """Encode one batch of super images."""
        vectors = self._tower(part.batch.pixels)
        self._parts.setdefault(part.video_id, []).append((part, vectors))

    def take(self, video_id: str) -> VideoVectors:
        """The whole video; it is in flight no longer."""
        parts = self._parts.pop(video_id)
        return VideoVectors(
            self._passport,
            np.concatenate([vectors for _, vectors in parts]).astype(np.float16),
            np.concatenate([part.batch.mask for part, _ in parts]),
            np.concatenate([part.batch.times for part, _ in parts]),
        )

    def drop(self, video_id: str) -> None:
        self._parts.pop(video_id, None)


def passport_of(backbone: Backbone, params: Params, grid_size: int) -> Passport:
    """What the vectors of one grid size are made with."""
    weights = weights_digest(backbone)
    return Passport(
        fingerprint=fingerprint(weights, Preprocessing(), backbone.dim, params.encode.window),
        grid_size=grid_size,
        resolution=params.resolution(grid_size),
        fps=params.encode.fps,
    )


def encode(params: Params, grid_size: int, dataset: Path, videos: Path, folder: Path) -> Report:
    """Bring a folder of vectors up to date with the dataset.

    Raises:
        InvalidInput: not one video of the dataset is in `videos`.
    """
    backbone = load_backbone(params.encode.backbone)
    cache = VectorCache(folder, passport_of(backbone, params, grid_size))
    wanted = [video.video_id for split in SPLITS for video in read_split(dataset, split).videos]
    files = _locate(wanted, videos)
    report = Report(len(wanted), missing=[i for i in wanted if i not in files])
    todo = {i: path for i, path in files.items() if not cache.holds(i, path)}
    if todo:
        tower = open_image_tower(backbone, params.resolution(grid_size))
        _encode_all(todo, Assembly(cache.passport, tower), cache, params, report)
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
    todo: Mapping[str, Path], assembly: Assembly, cache: VectorCache, params: Params, report: Report
) -> None:
    passport = cache.passport
    size = params.encode.batch_size
    sampling = Sampling(passport.fps, passport.grid_size, passport.resolution, size)
    with progress_bar(f"encoding at N = {passport.grid_size}", len(todo)) as advance:
        for step in decode_ahead(todo, sampling):
            _take(step, todo, assembly, cache, report)
            if not isinstance(step, Part):
                advance()


def _take(
    step: Step, todo: Mapping[str, Path], assembly: Assembly, cache: VectorCache, report: Report
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
    with whole_file(folder / REPORT_NAME) as file:
        file.write(json.dumps(asdict(report), indent=2).encode() + b"\n")


def main() -> None:
    parser = argparse.ArgumentParser(description="Encode the dataset at one grid size.")
    parser.add_argument("grid_size", type=int, metavar="N")
    grid_size = parser.parse_args().grid_size
    params = load_params()
    videos = params.prepare.videos or VIDEOS
    report = encode(params, grid_size, DATASET, videos, VECTORS / str(grid_size))
    console.print(
        f"N = {grid_size}: {report.encoded} of {report.videos} videos encoded, "
        f"{len(report.broken)} broken, {len(report.missing)} missing"
    )


if __name__ == "__main__":
    main()
