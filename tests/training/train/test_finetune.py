"""The stage: from a dataset and its features to a checkpoint that loads, and what it says."""

import json
from collections.abc import Iterator
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
import yaml

from qasir.artifacts import sha256_of
from qasir.config import Params
from qasir.modeling.backbones import Backbone
from qasir.modeling.retriever import load_retriever
from qasir.types import Float32
from qasir.vectors import VideoVectors, write_vectors
from tests.support.models import DIM
from tests.support.planted import finetune_params, spec
from training.data.dataset import Query, Split, Subset, Video, write_dataset
from training.train.finetune import STATE, finetune, read_data, summary
from training.train.history import Epoch, TrainingHistory
from training.train.trainer import TrainingData

ROOT = Path(__file__).resolve().parents[3]
GRIDS = (1, 2)
NOUNS = ("dog", "cat", "ball", "house", "car", "photo")
COLORS = ("red", "green", "blue")


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What the stage keeps beside its outputs goes where the test is; one thread is enough."""
    monkeypatch.chdir(tmp_path)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def params() -> Params:
    """The project's, small and quick, at N = 1 and 2."""
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["grids"] = {str(n): {"resolution": 64} for n in GRIDS}
    values["serve"]["grid_sizes"] = [2]
    quick = {"epochs": 2, "videos": 3}
    values["finetune"] = finetune_params().model_dump(mode="json") | quick
    return Params.model_validate(values)


def write_video(folder: Path, video_id: str, dim: int, grid_size: int) -> None:
    """Eight frames that look like nothing."""
    cells = grid_size**2
    count = -(-8 // cells)
    random = np.random.default_rng(crc32(f"{video_id} {grid_size}".encode()))
    features: Float32 = random.standard_normal((count, 1 + cells, dim)).astype(np.float32)
    mask = np.ones((count, cells), np.bool_)
    video = VideoVectors(
        spec(grid_size), features.astype(np.float16), mask, np.zeros((count, cells, 2))
    )
    write_vectors(video, folder / str(grid_size) / f"{video_id}.npz")


def subset(split: Split, videos: int) -> Subset:
    ids = [f"{split}{i}" for i in range(videos)]
    queries = [
        Query(f"{v}#enc#{k}", v, f"the {COLORS[(i + k) % 3]} {NOUNS[i % 6]}", 0.0, 1.0, 8.0)
        for i, v in enumerate(ids)
        for k in range(2)
    ]
    return Subset(tuple(Video(v, 8.0) for v in ids), tuple(queries))


@pytest.fixture
def data(tiny_backbone: Backbone, tmp_path: Path) -> TrainingData:
    """Six videos of train and three of val, one of which has no features at N = 2."""
    subsets: dict[Split, Subset] = {"train": subset("train", 6), "val": subset("val", 3)}
    write_dataset(tmp_path / "dataset", subsets)
    for split, count in (("train", 6), ("val", 3)):
        for number in range(count):
            for n in GRIDS:
                if (split, number, n) != ("val", 0, 2):
                    write_video(tmp_path / "features", f"{split}{number}", DIM, n)
    folders = {n: tmp_path / "features" / str(n) for n in GRIDS}
    return read_data(tiny_backbone, tmp_path / "dataset", folders)


def test_data_is_what_has_features_at_every_grid_size(data: TrainingData) -> None:
    assert data.train.video_ids == tuple(f"train{i}" for i in range(6))
    assert data.val.video_ids == ("val1", "val2")
    assert data.grid_sizes == GRIDS
    vectors = data.provider.queries(data.val.texts)
    assert torch.allclose(vectors.norm(dim=-1), torch.ones(4))
    assert data.provider.videos(["val1"], 2).features.shape == (1, 2, 5, DIM)


def test_equal_runs_write_equal_files(
    params: Params, tiny_backbone: Backbone, data: TrainingData, tmp_path: Path
) -> None:
    def digests(name: str) -> dict[str, str]:
        folder = tmp_path / name
        finetune(params, tiny_backbone, data, folder / "checkpoint", folder / "history")
        files = (path for path in folder.rglob("*") if path.is_file())
        return {str(path.relative_to(folder)): sha256_of(path) for path in files}

    first = digests("first")
    assert first == digests("second")
    assert {"checkpoint/model.safetensors", "checkpoint/retriever.json"} <= set(first)
    assert "history/training.svg" in first
    assert not STATE.exists()


def test_what_was_written_loads_and_is_what_was_reported(
    params: Params, tiny_backbone: Backbone, data: TrainingData, tmp_path: Path
) -> None:
    history = finetune(params, tiny_backbone, data, tmp_path / "made", tmp_path / "history")
    retriever = load_retriever(tiny_backbone, tmp_path / "made")
    assert retriever.residual_ratio == history.chosen_ratio
    assert set(retriever.branches) == set(GRIDS)
    last = json.loads((tmp_path / "history" / "metrics.json").read_text())
    assert last["step"] == history.epochs[-1].number
    assert last["objective"]["mean"] == pytest.approx(history.epochs[-1].objective, abs=1e-3)


def test_the_last_line_says_what_came_out() -> None:
    history = TrainingHistory(
        [Epoch(0, None, {1: 150.0}, {}, 20.0), Epoch(1, 2.0, {1: 170.0}, {}, 20.0)]
    )
    history.chosen_ratio = 0.3
    assert summary(history) == (
        "kept epoch 1 of 1: R@1 + R@5 + R@10 on validation 170.0, 150.0 at the start; "
        "residual ratio 0.3"
    )
    blind = TrainingHistory(
        [Epoch(0, None, {}, {}, 20.0), Epoch(1, 2.0, {}, {}, 20.0)], chosen_ratio=0.0
    )
    assert summary(blind) == "kept epoch 1: no validation split to select on"
