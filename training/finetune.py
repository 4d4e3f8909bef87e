"""Stage `finetune`: adapters, temporal encoder and branches on top of a backbone.

    python -m training.finetune

The best epoch by validation becomes `build/finetune`; how it got there is in results/training.
An interrupted training goes on after its last whole epoch.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from qasir.config import Params, load_params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.retriever import Retriever, save_retriever
from training.batches import CachedSource, Captioned, captioned
from training.course import Course, Epoch
from training.course_log import CourseLog
from training.dataset import Subset, find_videos, read_split
from training.encode import FEATURES
from training.feature_cache import read_cache
from training.features import VideoFeatures
from training.live_features import open_live
from training.prepare import DATASET, VIDEOS
from training.progress import console, progress_bar
from training.results import RESULTS
from training.towers import encode_texts
from training.trainer import Listener, TrainingData, train
from training.tuned_backbone import settle

FINETUNE = Path("build/finetune")
COURSE = RESULTS / "training"
# Beside the folder and not in it: DVC empties that before the stage runs.
STATE = Path("build/finetune.state")
PIXELS = Path("build/pixels")

Features = Mapping[int, Mapping[str, VideoFeatures]]


def read_data(backbone: Backbone, dataset: Path, folders: Mapping[int, Path]) -> TrainingData:
    """Train and val with cached features, a folder of them for each N; videos that lack some
    are left out.

    Raises:
        CorruptArtifact: a split or a feature file is missing or unreadable.
    """
    splits = read_split(dataset, "train"), read_split(dataset, "val")
    wanted = [video.video_id for split in splits for video in split.videos]
    features = {n: dict(read_cache(folder, wanted)) for n, folder in sorted(folders.items())}
    train_split, val_split = (_captioned(split, features) for split in splits)
    texts = list(dict.fromkeys((*train_split.texts, *val_split.texts)))
    vectors = dict(zip(texts, encode_texts(backbone, texts), strict=True))
    source = CachedSource(features, vectors, backbone.bridge)
    return TrainingData(train_split, val_split, source, tuple(features))


def _captioned(split: Subset, features: Features) -> Captioned:
    """Videos of a split that were encoded at every grid size."""
    held = [set(videos) for videos in features.values()]
    return captioned(split, set.intersection(*held))


def finetune(
    params: Params, backbone: Backbone, data: TrainingData, folder: Path, course_folder: Path
) -> Course:
    """Train on a frozen backbone and write the checkpoint to `folder`; how it went.

    Raises:
        InvalidInput: too few videos to learn from.
    """
    retriever, course = _train(params, backbone, data, course_folder)
    if PartialState().is_main_process:
        save_retriever(retriever, backbone, folder)
    return course


def finetune_towers(
    params: Params, backbone: Backbone, data: TrainingData, folder: Path, course_folder: Path
) -> Course:
    """As `finetune`, and the backbone's own weights learn too: from pixels, not from a cache.

    Raises:
        InvalidInput: too few videos to learn from.
        InvalidConfig: the backbone cannot be trained so.
    """
    files = find_videos(params.prepare.videos or VIDEOS)
    live = open_live(params, backbone, files, PIXELS)
    retriever, course = _train(params, backbone, replace(data, source=live), course_folder)
    if PartialState().is_main_process:
        save_retriever(retriever, settle(live.tuned, params, folder), folder)
    return course


def _train(
    params: Params, backbone: Backbone, data: TrainingData, course_folder: Path
) -> tuple[Retriever, Course]:
    course, window = Course(), params.encode.window
    with _watched(course, params.finetune.epochs, course_folder) as listen:
        retriever = train(
            params.finetune, data, backbone, window, listener=listen, course=course, state=STATE
        )
    return retriever, course


@contextmanager
def _watched(course: Course, epochs: int, folder: Path) -> Iterator[Listener]:
    """A listener that logs and shows epochs; of several processes only the main one does."""
    if not PartialState().is_main_process:
        yield lambda _: None
        return
    log = CourseLog(folder)
    with progress_bar("fine-tuning", epochs + 1) as advance:

        def listen(epoch: Epoch) -> None:
            log.epoch(epoch)
            advance()

        yield listen
    log.finish(course)


def summary(course: Course) -> str:
    """One line for people: what came out, and where it began."""
    best = course.best
    if best.objective is None:
        return f"kept epoch {best.number}: no validation split to select on"
    started = course.epochs[0].objective or 0.0
    return (
        f"kept epoch {best.number} of {course.epochs[-1].number}: R@1 + R@5 + R@10 on validation "
        f"{best.objective:.1f}, {started:.1f} at the start; residual ratio {course.chosen_ratio:g}"
    )


def main() -> None:
    params = load_params()
    backbone = load_backbone(params.encode.backbone)
    data = read_data(backbone, DATASET, {n: FEATURES / str(n) for n in params.grids})
    if not data.train.video_ids and params.export.variant == "zero-shot":
        # A benchmark without its train file is still evaluated and served, zero-shot.
        for folder in (FINETUNE, COURSE):
            folder.mkdir(parents=True, exist_ok=True)
        console.print("nothing to fine-tune on: the train split has no captioned video")
        return
    run = finetune if params.finetune.backbone == "frozen" else finetune_towers
    console.print(summary(run(params, backbone, data, FINETUNE, COURSE)))


if __name__ == "__main__":
    main()
