"""The stage on a random tiny CLIP: right vectors, resumed work, broken videos counted."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from qasir.config import Params, load_params
from qasir.errors import InvalidInput
from qasir.manifest import Manifest, read_manifest
from qasir.modeling.backbones import Backbone
from qasir.super_images import stack, tile
from qasir.video import sample_frames
from tests.fixtures.videos import write_painted
from training.dataset import Subset, Video, write_dataset
from training.encode import Report, encode
from training.vector_cache import read_cache

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def params(tiny_clip: Path) -> Params:
    params = load_params(ROOT / "params.yaml").model_dump()
    params["encode"] |= {"backbone": f"hf:{tiny_clip}", "batch_size": 2}
    params["grids"] = {1: {"resolution": 64}, 2: {"resolution": 64}}
    return Params.model_validate(params)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Two good videos, one that is none, and one that is not there."""
    videos = [Video(name, 9.0) for name in ("good", "fine", "broken", "absent")]
    write_dataset(tmp_path / "dataset", {"test": Subset(tuple(videos), ())})
    (tmp_path / "videos").mkdir()
    write_painted(tmp_path / "videos" / "good.mp4", seconds=9)
    write_painted(tmp_path / "videos" / "fine.mkv", seconds=5)
    (tmp_path / "videos" / "broken.mp4").write_bytes(b"no video")
    return tmp_path


def run(project: Path, params: Params, grid_size: int = 2) -> Report:
    folder = project / "vectors" / str(grid_size)
    return encode(params, grid_size, project / "dataset", project / "videos", folder)


def modified(project: Path) -> dict[str, int]:
    return {p.stem: p.stat().st_mtime_ns for p in (project / "vectors" / "2").glob("*.npz")}


def test_vectors_are_those_of_the_tower(
    project: Path, params: Params, tiny_backbone: Backbone
) -> None:
    run(project, params)
    found = read_cache(project / "vectors" / "2")["good"]
    batch = stack(list(tile(sample_frames(project / "videos" / "good.mp4", 1.0), 2, 64)))
    with torch.inference_mode():
        expected = tiny_backbone.image_tower(torch.from_numpy(batch.pixels)).numpy()
    assert np.abs(found.vectors - expected).max() < 1e-3
    assert np.array_equal(found.mask, batch.mask)
    assert np.array_equal(found.times, batch.times)
    assert found.vectors.shape[0] == 3


def test_the_passport_is_the_one_an_export_accepts(
    project: Path, params: Params, tiny_export: Path
) -> None:
    run(project, params)
    manifest: Manifest = read_manifest(tiny_export)
    for video in read_cache(project / "vectors" / "2").values():
        manifest.check(video.passport)


def test_broken_and_missing_videos_are_counted_not_fatal(project: Path, params: Params) -> None:
    report = run(project, params)
    assert (report.videos, report.encoded, report.missing) == (4, 2, ["absent"])
    assert list(report.broken) == ["broken"]
    assert report.broken["broken"].startswith("unsupported_media: broken.mp4")
    written = json.loads((project / "vectors" / "2" / "report.json").read_text())
    assert written["encoded"] == 2
    assert sorted(read_cache(project / "vectors" / "2")) == ["fine", "good"]


def test_a_second_run_encodes_only_what_is_new(project: Path, params: Params) -> None:
    run(project, params)
    before = modified(project)
    write_painted(project / "videos" / "absent.mp4", seconds=3)
    report = run(project, params)
    after = modified(project)
    assert (report.encoded, report.missing) == (3, [])
    assert {name: after[name] for name in before} == before
    assert sorted(after) == ["absent", "fine", "good"]


def test_two_runs_from_nothing_leave_equal_bytes(project: Path, params: Params) -> None:
    contents = []
    for _ in range(2):
        run(project, params)
        folder = project / "vectors" / "2"
        contents.append({p.name: p.read_bytes() for p in folder.iterdir()})
        for path in folder.iterdir():
            path.unlink()
    assert contents[0] == contents[1]


def test_another_fps_discards_the_cache(project: Path, params: Params) -> None:
    run(project, params)
    before = modified(project)
    faster = params.model_copy(update={"encode": params.encode.model_copy(update={"fps": 2.0})})
    run(project, faster)
    assert all(modified(project)[name] != before[name] for name in before)
    assert len(read_cache(project / "vectors" / "2")["good"].vectors) == 5


def test_a_folder_with_none_of_the_videos_says_how_to_name_them(
    project: Path, params: Params
) -> None:
    with pytest.raises(InvalidInput, match=r"none of the dataset's 4 videos .* prepare\.videos"):
        encode(params, 2, project / "dataset", project / "dataset", project / "vectors")
