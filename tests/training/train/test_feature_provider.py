"""Training a retriever through the towers by the trainer itself, and what is left afterwards."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from qasir.config import BackboneTraining, FinetuneParams, Params, load_params
from qasir.errors import InvalidInput
from qasir.modeling.backbones import Backbone, load_backbone, weights_digest
from qasir.modeling.retriever import Retriever, load_retriever, save_retriever
from qasir.super_images import stack, tile
from qasir.types import Float32
from qasir.video import sample_frames
from tests.support.models import LEARNED, RESOLUTION
from tests.support.tuning import trained
from tests.support.videos import write_painted
from training.data.dataset import Query, Subset, Video, find_videos, write_dataset
from training.features.cache import read_features
from training.outputs import finetuned_backbone, finetuned_features
from training.train.batches import CaptionDataset, captioned
from training.train.feature_provider import LiveFeatureProvider, open_live
from training.train.history import TrainingHistory
from training.train.trainer import TrainingData, train
from training.train.tuned_backbone import finalize_backbone

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]
KINDS: tuple[BackboneTraining, ...] = ("lora", "last-blocks")
SENTENCES = ("a dog runs", "a red car", "the green house", "a blue ball on the car")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Towers this small spend their time waiting for threads, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Four videos of different pictures and lengths with a sentence each, all of train."""
    (tmp_path / "videos").mkdir()
    for number in range(len(SENTENCES)):
        path = tmp_path / "videos" / f"v{number}.mp4"
        numbers = [(61 * number + frame) % 256 for frame in range(99)]
        write_painted(path, seconds=3 + 2 * number, numbers=numbers)
    write_dataset(tmp_path / "dataset", {"train": subset()})
    return tmp_path


def subset() -> Subset:
    videos = tuple(Video(f"v{i}", 3.0 + 2 * i) for i in range(len(SENTENCES)))
    queries = tuple(
        Query(f"v{i}#enc#0", f"v{i}", text, 0.0, 1.0, 3.0 + 2 * i)
        for i, text in enumerate(SENTENCES)
    )
    return Subset(videos, queries)


def params_of(project: Path, tiny_clip: Path, training: BackboneTraining) -> Params:
    params = load_params(ROOT / "params.yaml").model_dump(mode="json")
    params["prepare"]["videos"] = str(project / "videos")
    params["grids"] = {"1": {"resolution": RESOLUTION}, "2": {"resolution": RESOLUTION}}
    params["serve"]["grid_sizes"] = [2]
    params["encode"] |= {"backbone": f"hf:{tiny_clip}", "batch_size": 2}
    params["finetune"] |= {
        "backbone": training,
        "epochs": 6,
        "patience": 6,
        # So slow that what falls, falls because of the towers.
        "learning_rate": 1e-6,
        "warm_up": 0,
        "directions": 8,
        "precision": "no",
        "retriever": LEARNED.model_dump() | {"dropout": 0.0},
    }
    params["finetune"]["tuning"] |= {
        "blocks": 1,
        "rank": 2,
        "learning_rate": 1e-3,
        "videos": 4,
        "chunk": 3,
        "cache_gb": 1.0,
    }
    return Params.model_validate(params)


def opened(project: Path, params: Params, seed: int = 3) -> LiveFeatureProvider:
    """`seed` draws where low-rank updates begin."""
    torch.manual_seed(seed)
    backbone = load_backbone(params.encode.backbone)
    return open_live(params, backbone, find_videos(project / "videos"), project / "pixels")


def run(
    live: LiveFeatureProvider,
    params: FinetuneParams,
    history: TrainingHistory | None = None,
    state: Path | None = None,
) -> Retriever:
    known = captioned(subset(), [f"v{i}" for i in range(len(SENTENCES))])
    data = TrainingData(known, CaptionDataset((), (), np.zeros(0, np.int64)), live, (1, 2))
    backbone = live.tuned.backbone
    return train(params, data, backbone, window=64, history=history, state=state)


@pytest.mark.parametrize("kind", KINDS)
def test_towers_and_retriever_are_trained_together(
    project: Path, tiny_clip: Path, kind: BackboneTraining
) -> None:
    params = params_of(project, tiny_clip, kind)
    live = opened(project, params)
    before = {n: p.detach().clone() for n, p in live.tuned.model.named_parameters()}
    named = set(trained(live.tuned.model))
    history = TrainingHistory()
    run(live, params.finetune, history)
    losses = [epoch.loss for epoch in history.epochs if epoch.loss is not None]
    assert losses[-1] < losses[0]
    after = dict(live.tuned.model.named_parameters())
    changed = {n for n, p in after.items() if not torch.equal(p.cpu(), before[n])}
    assert changed
    assert changed <= named
    assert {n.split(".")[0] for n in changed} >= {"text_model", "vision_model"}


def test_a_training_that_was_cut_short_ends_as_one_that_was_not(
    project: Path, tiny_clip: Path
) -> None:
    params = params_of(project, tiny_clip, "lora")
    whole = opened(project, params)
    run(whole, params.finetune)
    state = project / "state.pt"

    class CutShort(Exception):  # no error: the way out
        pass

    def stop(epoch: object) -> None:
        if getattr(epoch, "number", 0) == 4:
            raise CutShort

    known = captioned(subset(), [f"v{i}" for i in range(len(SENTENCES))])
    first = opened(project, params)
    data = TrainingData(known, CaptionDataset((), (), np.zeros(0, np.int64)), first, (1, 2))
    with pytest.raises(CutShort):
        train(params.finetune, data, first.tuned.backbone, 64, listener=stop, state=state)
    assert state.is_file()
    # From another start: what it ends at can only come from the state.
    second = opened(project, params, seed=4)
    run(second, params.finetune, state=state)
    expected, found = (trained(live.tuned.model) for live in (whole, second))
    assert expected.keys() == found.keys()
    assert max((found[n] - expected[n]).abs().max().item() for n in found) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_left_is_a_backbone_like_any_other(
    project: Path, tiny_clip: Path, kind: BackboneTraining
) -> None:
    params = params_of(project, tiny_clip, kind)
    live = opened(project, params)
    retriever = run(live, params.finetune)
    folder = project / "finetune"
    backbone = finalize_backbone(live.tuned, params, folder, project / "dataset")
    save_retriever(retriever, backbone, folder)
    again = finetuned_backbone(params, folder)
    assert weights_digest(again) == weights_digest(backbone)
    assert weights_digest(again) != weights_digest(load_backbone(params.encode.backbone))
    loaded = load_retriever(again, folder)
    assert loaded.dim == retriever.dim
    for grid_size in (1, 2):
        features = finetuned_features(params, folder) / str(grid_size)
        assert sorted(path.stem for path in features.glob("*.npz")) == ["v0", "v1", "v2", "v3"]
        found = read_features(features / "v3.npz").embeddings
        assert np.abs(found - expected_features(again, project, grid_size)).max() < 2e-3


def expected_features(backbone: Backbone, project: Path, grid_size: int) -> Float32:
    frames = sample_frames(project / "videos" / "v3.mp4", 1.0)
    batch = stack(list(tile(frames, grid_size, RESOLUTION)))
    mask = torch.from_numpy(batch.mask).view(-1, grid_size, grid_size)
    with torch.inference_mode():
        found: Float32 = backbone.image_tower(torch.from_numpy(batch.pixels), mask).numpy()
    return found


def test_frozen_means_the_backbone_and_features_of_encode(project: Path, tiny_clip: Path) -> None:
    params = params_of(project, tiny_clip, "frozen")
    backbone = finetuned_backbone(params, project / "finetune")
    assert backbone.name == params.encode.backbone
    assert finetuned_features(params, project / "finetune") == Path("data/features")


def test_a_resolution_that_the_backbone_does_not_read_is_said_before_training(
    project: Path, tiny_clip: Path
) -> None:
    params = params_of(project, tiny_clip, "lora")
    grids = {n: grid.model_copy(update={"resolution": 96}) for n, grid in params.grids.items()}
    with pytest.raises(InvalidInput, match="resolution 96"):
        opened(project, params.model_copy(update={"grids": grids}))
