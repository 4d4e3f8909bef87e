"""The stage on a random tiny CLIP: right features, resumed work, broken videos counted."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from qasir.errors import InvalidInput
from qasir.modeling.backbones import Backbone
from qasir.super_images import stack, tile
from qasir.vectors import VideoVectors
from qasir.video import sample_frames
from tests.support.videos import write_painted
from training.data.dataset import Subset, Video, write_dataset
from training.features.cache import read_cache
from training.features.encode import Report, Sampling, encode, spec_of

SAMPLING = Sampling(fps=1.0, grid_size=2, resolution=64, batch_size=2)


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


def run(project: Path, backbone: Backbone, sampling: Sampling = SAMPLING) -> Report:
    folders = {sampling: project / "features"}
    return encode(backbone, folders, project / "dataset", project / "videos")[sampling]


def cached(project: Path) -> dict[str, VideoVectors]:
    return dict(read_cache(project / "features", ["absent", "broken", "fine", "good"]))


def modified(project: Path) -> dict[str, int]:
    return {p.stem: p.stat().st_mtime_ns for p in (project / "features").glob("*.npz")}


def test_features_are_those_of_the_tower(project: Path, tiny_backbone: Backbone) -> None:
    run(project, tiny_backbone)
    found = cached(project)["good"]
    batch = stack(list(tile(sample_frames(project / "videos" / "good.mp4", 1.0), 2, 64)))
    mask = torch.from_numpy(batch.mask).view(-1, 2, 2)
    with torch.inference_mode():
        expected = tiny_backbone.image_tower(torch.from_numpy(batch.pixels), mask).numpy()
    assert found.embeddings.shape == (3, 5, tiny_backbone.feature_dim)
    # float16 keeps eleven bits of each number.
    assert np.abs(found.embeddings - expected).max() < 1e-3 * max(1, np.abs(expected).max())
    assert np.array_equal(found.mask, batch.mask)
    assert np.array_equal(found.times, batch.times)
    assert not found.embeddings[:, 1:][~found.mask].any()


def test_the_passport_tells_backbones_and_samplings_apart(
    tiny_backbone: Backbone, tiny_siglip_backbone: Backbone
) -> None:
    mine = spec_of(tiny_backbone, SAMPLING)
    assert spec_of(tiny_siglip_backbone, SAMPLING).fingerprint != mine.fingerprint
    assert spec_of(tiny_backbone, replace(SAMPLING, fps=2.0)) != mine
    assert spec_of(tiny_backbone, replace(SAMPLING, batch_size=3)) == mine


def test_broken_and_missing_videos_are_counted_not_fatal(
    project: Path, tiny_backbone: Backbone
) -> None:
    report = run(project, tiny_backbone)
    assert (report.videos, report.encoded, report.missing) == (4, 2, ["absent"])
    assert list(report.broken) == ["broken"]
    assert report.broken["broken"].startswith("unsupported_media: broken.mp4")
    written = json.loads((project / "features" / "report.json").read_text())
    assert written["encoded"] == 2
    assert sorted(cached(project)) == ["fine", "good"]


def test_a_second_run_encodes_only_what_is_new(project: Path, tiny_backbone: Backbone) -> None:
    run(project, tiny_backbone)
    before = modified(project)
    write_painted(project / "videos" / "absent.mp4", seconds=3)
    report = run(project, tiny_backbone)
    after = modified(project)
    assert (report.encoded, report.missing) == (3, [])
    assert {name: after[name] for name in before} == before
    assert sorted(after) == ["absent", "fine", "good"]


def test_two_runs_from_nothing_leave_equal_bytes(project: Path, tiny_backbone: Backbone) -> None:
    contents = []
    for _ in range(2):
        run(project, tiny_backbone)
        folder = project / "features"
        contents.append({p.name: p.read_bytes() for p in folder.iterdir()})
        for path in folder.iterdir():
            path.unlink()
    assert contents[0] == contents[1]


def test_another_fps_discards_the_cache(project: Path, tiny_backbone: Backbone) -> None:
    run(project, tiny_backbone)
    before = modified(project)
    run(project, tiny_backbone, replace(SAMPLING, fps=2.0))
    assert all(modified(project)[name] != before[name] for name in before)
    assert len(cached(project)["good"].mask) == 5


def test_a_folder_with_none_of_the_videos_says_how_to_name_them(
    project: Path, tiny_backbone: Backbone
) -> None:
    with pytest.raises(InvalidInput, match=r"none of the dataset's 4 videos .* prepare\.videos"):
        encode(tiny_backbone, {SAMPLING: project / "f"}, project / "dataset", project / "dataset")


def test_one_pass_over_several_samplings_writes_what_one_pass_each_does(
    project: Path, tiny_backbone: Backbone
) -> None:
    frames = replace(SAMPLING, grid_size=1)
    folders = {SAMPLING: project / "both" / "2", frames: project / "both" / "1"}
    for name, passes in (("both", [folders]), ("each", [{s: p} for s, p in folders.items()])):
        for some in passes:
            moved = {s: project / name / path.name for s, path in some.items()}
            reports = encode(tiny_backbone, moved, project / "dataset", project / "videos")
            assert {report.encoded for report in reports.values()} == {2}
    for path in folders.values():
        other = project / "each" / path.name
        assert {p.name: p.read_bytes() for p in path.iterdir()} == {
            p.name: p.read_bytes() for p in other.iterdir()
        }


def test_of_several_samplings_only_the_one_that_lacks_a_video_is_encoded(
    project: Path, tiny_backbone: Backbone
) -> None:
    folders = {SAMPLING: project / "features", replace(SAMPLING, grid_size=1): project / "frames"}
    encode(tiny_backbone, folders, project / "dataset", project / "videos")
    before, lost = modified(project), project / "frames" / "good.npz"
    lost.unlink()
    encode(tiny_backbone, folders, project / "dataset", project / "videos")
    assert lost.is_file()
    assert modified(project) == before
