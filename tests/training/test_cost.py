"""What a dataset will cost: equal to what encoding really writes, and the page says so too."""

import inspect
import json
import re
from pathlib import Path

import pytest

from qasir.config import GridParams, Params, load_params
from qasir.modeling.backbones import Backbone
from qasir.video import probe
from tests.support.models import RESOLUTION
from tests.support.videos import write_painted
from training.cost import Cost, cost_table, count, frames
from training.data.benchmarks import READERS
from training.data.dataset import Video
from training.features.encode import Sampling
from training.train.feature_provider import PixelCache

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "benchmarks.md").read_text()


@pytest.fixture
def params() -> Params:
    params = load_params(ROOT / "params.yaml")
    encode = params.encode.model_copy(update={"batch_size": 2})
    grids = {n: GridParams(resolution=RESOLUTION) for n in (1, 2)}
    return params.model_copy(update={"encode": encode, "grids": grids})


@pytest.mark.parametrize("seconds", [0.3, 1.0, 4.4, 4.5, 4.6, 9.0])
@pytest.mark.parametrize("fps", [0.5, 1.0, 2.0])
def test_super_images_are_as_many_as_a_video_gives(
    tmp_path: Path, seconds: float, fps: float
) -> None:
    path = write_painted(tmp_path / "a.mp4", seconds=seconds)
    batch = PixelCache(tmp_path, {"a": path}, 0).load(["a"], Sampling(fps, 2, 64, 2))[0]
    shown = probe(path).duration
    assert frames(shown, fps) == batch.mask.sum()
    cost = count([Video("a", shown)], fps, 2, 64, feature_dim=32)
    arrays = batch.mask.nbytes + batch.times.nbytes
    assert (cost.super_images, cost.pixel_bytes) == (len(batch), batch.pixels.nbytes)
    assert cost.feature_bytes == len(batch) * 5 * 32 * 2 + arrays


def test_videos_add_up() -> None:
    videos = [Video("a", 10.0), Video("b", 3.0)]
    each = [count([video], 1.0, 2, 64, 32) for video in videos]
    both = count(videos, 1.0, 2, 64, 32)
    first, second = (vars(cost).values() for cost in each)
    assert both == Cost(*(a + b for a, b in zip(first, second, strict=True)))


def test_the_table_has_a_row_per_grid_size(params: Params, tiny_backbone: Backbone) -> None:
    table = cost_table(params, [Video("a", 3600.0)], tiny_backbone)
    assert [list(column.cells)[:1] for column in table.columns[:2]] == [["1"], ["3,600"]]
    assert list(table.columns[1].cells) == ["3,600", "900"]
    rates = [float(cell) for cell in table.columns[4].cells]  # type: ignore[arg-type]  # written as text above
    assert min(rates) > 0


@pytest.mark.parametrize("name", READERS)
def test_the_page_counts_the_real_files(annotations_folder: Path, name: str) -> None:
    for part, videos in parts(annotations_folder, name).items():
        counted = [count(videos, 1.0, n, 224, 512) for n in (1, 2, 3, 4)]
        wide = [count(videos, 1.0, n, 224, 768) for n in (1, 2, 3, 4)]
        row = [f"{len(videos):,}", f"{counted[0].seconds / 3600:.1f}"]
        row += [f"{cost.super_images:,}" for cost in counted]
        row += [f"{sum(c.feature_bytes for c in costs) / 1e9:.2f} GB" for costs in (counted, wide)]
        assert f"| {name} {part} | {' | '.join(row)} |" in PAGE
        if part == "train":
            assert f"{counted[1].pixel_bytes / 1e9:.1f} GB for {TITLES[name]}" in PAGE


TITLES = {"activitynet": "ActivityNet", "tvr": "TVR", "charades": "Charades"}


def parts(folder: Path, name: str) -> dict[str, list[Video]]:
    """Videos of train and pool; TVR's train durations are in a file of their own."""
    annotations = READERS[name](folder / name)
    if annotations.train is not None:
        train = list(annotations.train.videos)
    else:
        durations = json.loads((folder / name / "tvr_video2dur_idx.json").read_text())["train"]
        train = [Video(video_id, seconds) for video_id, (seconds, _) in durations.items()]
    return {"train": train, "pool": list(annotations.test.videos)}


def test_the_page_names_the_spans_past_the_end(annotations_folder: Path) -> None:
    found = re.search(r"(\d+) train spans and (\d+) of the pool\s+end after", PAGE)
    assert found is not None
    for name, said in zip(("train", "val_1"), found.groups(), strict=True):
        videos = json.loads((annotations_folder / "activitynet" / f"{name}.json").read_text())
        past = [
            max(span) - video["duration"]
            for video in videos.values()
            for span in video["timestamps"]
            if max(span) > video["duration"]
        ]
        assert len(past) == int(said)
        assert max(past) <= 0.01 + 1e-9


def test_every_preset_is_on_the_page() -> None:
    for path in (ROOT / "training" / "presets" / "backbones").glob("*.yaml"):
        backbone = re.search(r"backbone: (\S+)", path.read_text())
        assert backbone is not None
        assert f"| `{path.stem}` | `{backbone[1]}` |" in PAGE


@pytest.mark.parametrize("name", READERS)
def test_every_file_that_a_reader_opens_is_on_the_page(name: str) -> None:
    source = inspect.getsource(READERS[name])
    names = re.findall(r'"(\w+\.(?:jsonl?|txt))"', source)
    assert names
    assert all(f"`{name}`" in PAGE for name in names)
