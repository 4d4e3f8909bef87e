"""Stage `finetune`: trains adapters, temporal encoder and branches on top of a backbone.

    python -m training.train.finetune

The best epoch by validation becomes `build/fine-tuned`; the training curves go to
`build/training`. An interrupted training resumes after its last complete epoch.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from accelerate import PartialState

from qasir.config import Params, load_params
from qasir.modeling.backbones import Backbone, load_backbone
from qasir.modeling.retriever import save_retriever
from training.data.dataset import find_videos, read_split
from training.features.cache import read_cache
from training.features.towers import encode_texts
from training.outputs import DATASET, FEATURES, FINETUNED, TRAINING_LOG, videos_folder
from training.progress import console, progress_bar
from training.train.batches import CachedFeatureProvider, captioned
from training.train.feature_provider import open_live
from training.train.history import Epoch, HistoryLog, TrainingHistory
from training.train.trainer import Listener, TrainingData, train
from training.train.tuned_backbone import finalize_backbone

# Not inside the folder, which DVC empties before the stage runs.
STATE = Path("build/finetune.state")
PIXELS = Path("build/pixels")


def read_data(backbone: Backbone, dataset: Path, folders: Mapping[int, Path]) -> TrainingData:
    """Reads train and val with cached features from one folder per N.

    Videos without features at every N are left out.

    Raises:
        CorruptArtifact: a split or a feature file is missing or unreadable.
    """
    splits = read_split(dataset, "train"), read_split(dataset, "val")
    ids = [video.video_id for split in splits for video in split.videos]
    features = {n: dict(read_cache(folder, ids)) for n, folder in sorted(folders.items())}
    encoded = set.intersection(*(set(videos) for videos in features.values()))
    train_split, val_split = (captioned(split, encoded) for split in splits)
    texts = list(dict.fromkeys((*train_split.texts, *val_split.texts)))
    vectors = dict(zip(texts, encode_texts(backbone, texts), strict=True))
    provider = CachedFeatureProvider(features, vectors, backbone.bridge)
    return TrainingData(train_split, val_split, provider, tuple(features))


def finetune(
    params: Params, backbone: Backbone, data: TrainingData, folder: Path, history_folder: Path
) -> TrainingHistory:
    """Trains and writes the checkpoint to `folder`.

    Where `finetune.backbone` is not frozen, the backbone's weights are trained too, from pixels
    instead of cached features.

    Raises:
        InvalidInput: too few videos to train on.
        InvalidConfig: the backbone cannot be trained this way.
    """
    live = None
    if params.finetune.backbone != "frozen":
        live = open_live(params, backbone, find_videos(videos_folder(params)), PIXELS)
        data = replace(data, provider=live)
    history, window = TrainingHistory(), params.encode.window
    with _watched(history, params.finetune.epochs, history_folder) as listen:
        retriever = train(
            params.finetune, data, backbone, window, listener=listen, history=history, state=STATE
        )
    if live:
        backbone = finalize_backbone(live.tuned, params, folder)
    if PartialState().is_main_process:
        save_retriever(retriever, backbone, folder)
    return history


@contextmanager
def _watched(history: TrainingHistory, epochs: int, folder: Path) -> Iterator[Listener]:
    """Yields a listener that logs and shows epochs; of several processes only the main one logs."""
    if not PartialState().is_main_process:
        yield lambda _: None
        return
    log = HistoryLog(folder)
    with progress_bar("fine-tuning", epochs + 1) as advance:

        def listen(epoch: Epoch) -> None:
            log.log_epoch(epoch)
            advance()

        yield listen
    log.finish(history)


def summary(history: TrainingHistory) -> str:
    """Returns one line about the best epoch and the start."""
    best = history.best
    if best.objective is None:
        return f"kept epoch {best.number}: no validation split to select on"
    started = history.epochs[0].objective or 0.0
    return (
        f"kept epoch {best.number} of {history.epochs[-1].number}: R@1 + R@5 + R@10 on validation "
        f"{best.objective:.1f}, {started:.1f} at the start; residual ratio {history.chosen_ratio:g}"
    )


def main() -> None:
    params = load_params()
    backbone = load_backbone(params.encode.backbone)
    data = read_data(backbone, DATASET, {n: FEATURES / str(n) for n in params.grids})
    if not data.train.video_ids and params.export.variant == "zero-shot":
        # A benchmark without its train file is still evaluated and served zero-shot.
        for folder in (FINETUNED, TRAINING_LOG):
            folder.mkdir(parents=True, exist_ok=True)
        console.print("nothing to train on: the train split has no captioned video")
        return
    console.print(summary(finetune(params, backbone, data, FINETUNED, TRAINING_LOG)))


if __name__ == "__main__":
    main()
