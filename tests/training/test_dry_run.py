"""The whole pipeline on the real annotation files, with stand-in videos for a few of their ids.

Every stage runs as DVC runs it, in a folder of its own. What is random is the model and what
is painted the videos: the figures mean nothing, that they are there and add up is the point.
"""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import chdir
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from qasir.config import load_params
from qasir.manifest import read_manifest, verify_files
from qasir.modeling.backbones import load_backbone
from tests.support.models import RESOLUTION
from tests.support.videos import write_painted
from training.data.dataset import SPLITS, Split, read_split
from training.features.encode import Sampling, spec_of
from training.preset import write_preset

ROOT = Path(__file__).resolve().parents[2]
STAND_INS = 5  # videos of every split
GRIDS = (1, 2)
POOLS = {"activitynet": (4_917, 17_505), "tvr": (2_179, 10_895), "charades": (1_334, 3_720)}
KINDS = {"kind v": 8_097, "kind vt": 1_834, "kind t": 964}


class Run:
    """One benchmark in a folder of its own, from annotations to an exported model."""

    def __init__(self, folder: Path, name: str, annotations: Path, backbone: Path) -> None:
        self.folder = folder
        self.name = name
        write_params(folder / "params.yaml", name, annotations, backbone)
        self.stage("prepare")
        self.stand_ins = {split: self._stand_in(split) for split in SPLITS}
        self.stage("encode")

    def stage(self, name: str) -> None:
        """Runs the stage's module in this folder."""
        stage = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"][name]
        module = import_module(stage["cmd"].split()[2])
        with chdir(self.folder):
            module.main()

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())

    def _stand_in(self, split: Split) -> list[str]:
        """Painted videos of half a minute at most for the shortest ids of a split."""
        subset = read_split(self.folder / "data" / "dataset", split)
        chosen = sorted(subset.videos, key=lambda video: video.duration)[:STAND_INS]
        folder = self.folder / "videos"
        folder.mkdir(exist_ok=True)
        for number, video in enumerate(chosen):
            numbers = [(50 * number + frame) % 256 for frame in range(60)]
            seconds = min(video.duration, 30.0)
            write_painted(folder / f"{video.video_id}.mp4", seconds, fps=2, numbers=numbers)
        return [video.video_id for video in chosen]


def write_params(path: Path, name: str, annotations: Path, backbone: Path) -> None:
    """A preset with the tiny backbone in place of the real one, trained for one epoch."""
    path.write_text((ROOT / "params.yaml").read_text())
    write_preset(path, "clip-b32", name, annotations, path.parent / "videos")
    params = yaml.safe_load(path.read_text())
    params["grids"] = {str(n): {"resolution": RESOLUTION} for n in GRIDS}
    params["encode"] |= {"backbone": f"hf:{backbone}", "batch_size": 4}
    params["finetune"] |= {"epochs": 1, "videos": 4, "precision": "no"}
    params["evaluate"]["taus"] = [0.05, 0.2]
    path.write_text(yaml.safe_dump(params))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Towers this small spend their time waiting for threads, most of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["activitynet", "charades", "tvr"])
def run(
    request: pytest.FixtureRequest,
    annotations_folder: Path,
    tiny_clip: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Run:
    """TVR gets a made train file, as a user who has the real one would put it there."""
    name: str = request.param
    folder = tmp_path_factory.mktemp(f"dry-run-{name}")
    annotations = annotations_folder / name
    if name == "tvr":
        annotations = with_train_file(annotations, folder / "annotations")
    run = Run(folder, name, annotations, tiny_clip)
    for stage in ("finetune", "evaluate", "export"):
        run.stage(stage)
    return run


def with_train_file(annotations: Path, folder: Path) -> Path:
    """TVR's val file, and a train file of eighty made clips with two sentences each."""
    folder.mkdir()
    val = "tvr_val_release.jsonl"
    (folder / val).symlink_to(annotations / val)
    rows = [
        {
            "vid_name": f"made_{i // 2}",
            "duration": 9.0,
            "ts": [1, 4],
            "desc": f"A dog {i}.",
            "type": "v",
        }
        for i in range(160)
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "tvr_train_release.jsonl").write_text(text)
    return folder


def test_missing_videos_are_counted_and_not_fatal(run: Run) -> None:
    videos, _ = POOLS[run.name]
    present = [video_id for ids in run.stand_ins.values() for video_id in ids]
    assert len(present) == 3 * STAND_INS
    for grid_size in GRIDS:
        report = run.json(f"data/features/{grid_size}/report.json")
        assert report["encoded"] == len(present)
        assert not report["broken"]
        assert len(report["missing"]) == report["videos"] - len(present)
        assert report["videos"] > videos


def test_every_query_of_the_pool_counts(run: Run) -> None:
    """Queries of videos that are not there are asked, and not found."""
    _, queries = POOLS[run.name]
    metrics = run.json("results/metrics.json")
    assert set(metrics) == {"zero-shot", "fine-tuned"}
    test = read_split(run.folder / "data" / "dataset", "test")
    answerable = sum(query.video_id in run.stand_ins["test"] for query in test.queries)
    rows = run.json("results/evaluation.json")
    assert {row["variant"] for row in rows} == {"zero-shot", "fine-tuned"}
    assert {row["grid_size"] for row in rows} == set(GRIDS)
    for row in rows:
        assert (row["queries"], row["videos"]) == (queries, STAND_INS)
        # All stand-ins fit the first ten: what is there is found, what is not is not.
        assert row["r10"] == pytest.approx(100 * answerable / queries, rel=1e-4)


def test_groups_add_up(run: Run) -> None:
    rows = run.json("results/groups.json")
    kinds = Counter(row["group"] for row in rows if row["group"].startswith("kind"))
    # Both variants at every grid size.
    assert kinds == (dict.fromkeys(KINDS, 2 * len(GRIDS)) if run.name == "tvr" else {})
    assert all(row["queries"] == KINDS[row["group"]] for row in rows if row["group"] in KINDS)
    assert any("M/V" in row["group"] for row in rows)


def test_finetuning_kept_what_validation_preferred(run: Run) -> None:
    card = run.json("build/fine-tuned/retriever.json")
    assert set(card["branches"]) == {str(n) for n in GRIDS}
    manifest = read_manifest(run.folder / "build" / "export")
    chosen = run.json("build/zero-shot/branches.json")
    expected = {"fine-tuned": card["branches"], "zero-shot": chosen}[manifest.variant]
    assert {str(n): b.model_dump() for n, b in manifest.branches.items()} == expected


def test_the_export_is_of_what_was_evaluated(run: Run) -> None:
    manifest = read_manifest(run.folder / "build" / "export")
    verify_files(manifest, run.folder / "build" / "export")
    assert manifest.variant == load_params(run.folder / "params.yaml").export.variant
    assert set(manifest.branches) == set(GRIDS)
    assert manifest.name == f"clip-b32-{run.name}"


def test_tvr_without_its_train_file_serves_evaluation_only(
    annotations_folder: Path, tiny_clip: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path, "tvr", annotations_folder / "tvr", tiny_clip)
    assert (run.stand_ins["train"], run.stand_ins["val"]) == ([], [])
    run.stage("finetune")
    assert not (run.folder / "build" / "fine-tuned" / "retriever.json").exists()
    run.stage("evaluate")
    run.stage("export")
    assert set(run.json("results/metrics.json")) == {"zero-shot"}
    kinds = [row for row in run.json("results/groups.json") if row["group"].startswith("kind")]
    assert {row["group"]: row["queries"] for row in kinds} == KINDS
    assert read_manifest(run.folder / "build" / "export").variant == "zero-shot"


def test_a_tuned_backbone_goes_through_all_stages(
    annotations_folder: Path, tiny_clip: Path, tmp_path: Path
) -> None:
    run = Run(tmp_path, "charades", annotations_folder / "charades", tiny_clip)
    path = tmp_path / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["finetune"]["backbone"] = "lora"
    params["finetune"]["tuning"] |= {"rank": 2, "videos": 4, "cache_gb": 0.1}
    path.write_text(yaml.safe_dump(params))
    for stage in ("finetune", "evaluate", "export"):
        run.stage(stage)
    with chdir(tmp_path):
        backbone = load_backbone("hf:build/fine-tuned/backbone")
    for grid_size in GRIDS:
        own = run.json(f"build/fine-tuned/features/{grid_size}/spec.json")
        sampling = Sampling(1.0, grid_size, RESOLUTION, 4)
        assert own == spec_of(backbone, sampling).model_dump()
        # Of train and val alone: what is only evaluated is read once and not kept.
        kept = {file.stem for file in (tmp_path / f"build/pixels/{grid_size}").glob("*.npz")}
        assert kept == {*run.stand_ins["train"], *run.stand_ins["val"]}
    assert set(run.json("results/metrics.json")) == {"zero-shot", "fine-tuned"}
    manifest = read_manifest(tmp_path / "build" / "export")
    assert (manifest.backbone, manifest.variant) == ("hf:build/fine-tuned/backbone", "fine-tuned")
