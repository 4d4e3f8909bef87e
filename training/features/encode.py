"""Stage `encode`: encodes every video at all grid sizes with the frozen backbone, resumable.

    python -m training.features.encode

A video is decoded once for all grid sizes, in threads ahead of the encoder: PyAV and OpenCV
release the interpreter lock. A broken or missing video is reported, skipped and counted; it does
not stop the stage.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Full, Queue
from threading import Event, Lock, Thread
from typing import TypeAlias

import numpy as np

from qasir.artifacts import atomic_write
from qasir.config import Params, load_params
from qasir.errors import InvalidInput, QasirError
from qasir.manifest import EmbeddingSpec, Preprocessing, fingerprint
from qasir.modeling.backbones import Backbone, load_backbone, tensors_digest
from qasir.super_images import SuperImageBatch, stack, tile
from qasir.types import Frame, SuperImage
from qasir.vectors import VideoVectors, join
from qasir.video import sample_frames
from training.data.dataset import SPLITS, find_videos, read_split
from training.features.cache import FeatureCache
from training.features.towers import open_image_tower
from training.outputs import DATASET, FEATURES, videos_folder
from training.progress import console, progress_bar

REPORT_NAME = "report.json"
THREADS = 2
AHEAD = 8  # batches in the queue: bounds memory for any length of video


@dataclass(frozen=True)
class Sampling:
    """How a video becomes batches of super images: fps, N, R and super images per batch."""

    fps: float
    grid_size: int
    resolution: int
    batch_size: int


@dataclass(frozen=True)
class DecodedBatch:
    """The next super images of a video at one grid size, in order."""

    video_id: str
    sampling: Sampling
    batch: SuperImageBatch


@dataclass(frozen=True)
class Finished:
    """All batches of this video have been yielded, or it cannot be decoded any further."""

    video_id: str
    error: QasirError | None = None


Step: TypeAlias = DecodedBatch | Finished


@dataclass
class Report:
    """How many videos were encoded and which were not; equal inputs give equal reports."""

    videos: int
    encoded: int
    broken: dict[str, str] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)


def sampling_of(params: Params, grid_size: int) -> Sampling:
    """Returns how params.yaml samples at one grid size."""
    return Sampling(
        params.encode.fps, grid_size, params.resolution(grid_size), params.encode.batch_size
    )


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
    backbone: Backbone, folders: Mapping[Sampling, Path], dataset: Path, videos: Path
) -> dict[Sampling, Report]:
    """Brings a folder of features per sampling, all of one fps, up to date with the dataset.

    Raises:
        InvalidInput: no video of the dataset is in `videos`, or the backbone does not read
            an R.
    """
    ids = [video.video_id for split in SPLITS for video in read_split(dataset, split).videos]
    available = find_videos(videos)
    files = {video_id: available[video_id] for video_id in ids if video_id in available}
    if not files:
        raise InvalidInput(
            f"none of the dataset's {len(ids)} videos is in {videos}; set prepare.videos in "
            "params.yaml to the folder that holds them as <video id>.<any extension>"
        )
    caches = {s: FeatureCache(folder, spec_of(backbone, s)) for s, folder in folders.items()}
    stale = {
        i: samplings
        for i, path in files.items()
        if (samplings := [s for s, cache in caches.items() if not cache.holds(i, path)])
    }
    broken = _encode_all(backbone, files, stale, caches) if stale else {}
    reports = {}
    for sampling, cache in caches.items():
        cache.finish(set(files) - set(broken))
        missing = [i for i in ids if i not in files]
        report = Report(len(ids), len(files) - len(broken), dict(sorted(broken.items())), missing)
        with atomic_write(cache.folder / REPORT_NAME) as file:
            file.write(json.dumps(asdict(report), indent=2).encode() + b"\n")
        reports[sampling] = report
    return reports


def _encode_all(
    backbone: Backbone,
    files: Mapping[str, Path],
    stale: Mapping[str, Sequence[Sampling]],
    caches: Mapping[Sampling, FeatureCache],
) -> dict[str, str]:
    """Encodes videos at their `stale` samplings; returns the errors of the broken ones by id."""
    used = dict.fromkeys(sampling for samplings in stale.values() for sampling in samplings)
    towers = {r: open_image_tower(backbone, r) for r in {s.resolution for s in used}}
    parts: dict[str, dict[Sampling, list[VideoVectors]]] = {i: {} for i in stale}
    broken: dict[str, str] = {}
    title = f"encoding at N = {', '.join(str(s.grid_size) for s in used)}"
    with progress_bar(title, len(stale)) as advance:
        for step in decode_ahead(files, stale):
            if isinstance(step, DecodedBatch):
                batch, cache = step.batch, caches[step.sampling]
                tower = towers[step.sampling.resolution]
                features = tower(batch.pixels, batch.mask).astype(np.float16)
                part = VideoVectors(cache.spec, features, batch.mask, batch.times)
                parts[step.video_id].setdefault(step.sampling, []).append(part)
                continue
            encoded = parts.pop(step.video_id)
            if step.error:
                broken[step.video_id] = f"{step.error.code}: {step.error}"
                console.print(f"skipped {step.video_id}: {step.error}", style="yellow")
            else:
                for sampling, vectors in encoded.items():
                    caches[sampling].add(step.video_id, files[step.video_id], join(vectors))
            advance()
    return broken


def decode_ahead(
    files: Mapping[str, Path], samplings: Mapping[str, Sequence[Sampling]]
) -> Iterator[Step]:
    """Yields steps of the videos in `samplings`, two videos interleaved.

    An error that is not about a video's content is raised here, in the consumer.
    """
    waiting, lock, stop = iter(samplings), Lock(), Event()
    queue: Queue[Step | BaseException | None] = Queue(AHEAD)

    def put(step: Step | BaseException | None) -> None:
        while not stop.is_set():
            with suppress(Full):
                queue.put(step, timeout=0.2)
                return

    def work() -> None:
        try:
            while not stop.is_set():
                with lock:
                    video_id = next(waiting, None)
                if video_id is None:
                    break
                for step in _steps(video_id, files[video_id], samplings[video_id]):
                    put(step)
            put(None)
        except BaseException as error:  # noqa: BLE001  # handed to the consumer, which raises it
            put(error)

    threads = [Thread(target=work, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        running = len(threads)
        while running:
            step = queue.get()
            if isinstance(step, BaseException):
                raise step
            if step is None:
                running -= 1
            else:
                yield step
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _steps(video_id: str, path: Path, samplings: Sequence[Sampling]) -> Iterator[Step]:
    try:
        for sampling, batch in batches(sample_frames(path, samplings[0].fps), samplings):
            yield DecodedBatch(video_id, sampling, batch)
    except QasirError as error:
        yield Finished(video_id, error)
    else:
        yield Finished(video_id)


def batches(
    frames: Iterable[Frame], samplings: Sequence[Sampling]
) -> Iterator[tuple[Sampling, SuperImageBatch]]:
    """Tiles the same frames by every sampling; holds one super image's frames and one batch."""
    cells: dict[Sampling, list[Frame]] = {s: [] for s in samplings}
    images: dict[Sampling, list[SuperImage]] = {s: [] for s in samplings}
    for frame in frames:
        for s in samplings:
            cells[s].append(frame)
            if len(cells[s]) == s.grid_size**2:
                images[s] += tile(cells[s], s.grid_size, s.resolution)
                cells[s].clear()
            if len(images[s]) == s.batch_size:
                yield s, stack(images[s])
                images[s].clear()
    for s in samplings:
        images[s] += tile(cells[s], s.grid_size, s.resolution)
        if images[s]:
            yield s, stack(images[s])


def main() -> None:
    params = load_params()
    folders = {sampling_of(params, n): FEATURES / str(n) for n in sorted(params.grids)}
    # DVC keeps this folder, so features of a grid size that was removed are still there.
    for folder in set(FEATURES.glob("*/")) - set(folders.values()):
        shutil.rmtree(folder)
    backbone = load_backbone(params.encode.backbone)
    for sampling, report in encode(backbone, folders, DATASET, videos_folder(params)).items():
        console.print(
            f"N = {sampling.grid_size}: {report.encoded} of {report.videos} videos encoded, "
            f"{len(report.broken)} broken, {len(report.missing)} missing"
        )


if __name__ == "__main__":
    main()
