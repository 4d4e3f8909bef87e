"""The pipeline as DVC runs it, in a copy of the project with a corpus in miniature."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from qasir.config import load_params
from qasir.manifest import read_manifest, verify_files

ROOT = Path(__file__).resolve().parents[2]
OUTPUTS = (
    "data/dataset",
    "data/features/1",
    "data/features/2",
    "build/fine-tuned",
    "build/zero-shot",
    "build/training",
    "build/export/manifest.json",
)
MODULES = {
    "prepare": "training.data.prepare",
    "encode": "training.features.encode",
    "finetune": "training.train.finetune",
    "evaluate": "training.evaluate.evaluate",
    "export": "training.export",
}
STAGES = set(MODULES)
# Commands, paths and a progress bar: they change no result of a stage.
NO_STAGE = {
    *("__init__.py", "cost.py", "outputs.py", "preset.py", "progress.py", "reproduce.py", "study"),
}


class Project:
    """A copy of the project with commands run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> str:
        paths = [str(Path(sys.executable).parent), os.environ["PATH"]]
        environment = os.environ | {"PATH": os.pathsep.join(paths), "PYTHONPATH": "src"}
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def repro(self, *options: str) -> set[str]:
        """Run `dvc repro`; the stages that ran."""
        return self.stages_of("dvc", "repro", *options)

    def stages_of(self, *command: str) -> set[str]:
        """Run a command that reproduces; the stages that ran."""
        output = self.run(*command)
        return {line.split("'")[1] for line in output.splitlines() if "Running stage" in line}

    def change(self, change: dict[str, Any]) -> None:
        """Update params.yaml, one section at a time."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for section, values in change.items():
            params[section].update(values)
        path.write_text(yaml.safe_dump(params))

    def json(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


@pytest.fixture(scope="module")
def project(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """Reproduced once from nothing on a random tiny CLIP, with a remote folder beside it."""
    folder = tmp_path_factory.mktemp("project")
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "cache", "tmp")
    for name in ("src", "training", ".dvc", "results"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    for name in ("dvc.yaml", "dvc.lock", ".dvcignore", ".gitignore", "params.yaml"):
        shutil.copy(ROOT / name, folder / name)
    (folder / ".dvc" / "config.local").unlink(missing_ok=True)
    project = Project(folder)
    demo = {"concepts": 20, "train_videos": 4, "val_videos": 2, "test_videos": 3, "moments": 2}
    params = yaml.safe_load((folder / "params.yaml").read_text())
    params["prepare"]["demo"] |= demo
    params["grids"] = {"1": {"resolution": 64}, "2": {"resolution": 64}}
    params["encode"]["backbone"] = f"hf:{tiny_clip}"
    params["finetune"] |= {"epochs": 1, "videos": 2}
    params["finetune"]["retriever"] |= {"dim": 16, "heads": 2}
    params["evaluate"] |= {"taus": [0.02, 0.2], "lengths": [12, 30]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    project.run("git", "init", "-q")
    # DVCLive asks for the commit that a training starts from.
    author = ("-c", "user.name=a", "-c", "user.email=a@b")
    project.run("git", "add", "--all")
    project.run("git", *author, "commit", "-q", "-m", "begin")
    the_demo_leaves_the_checkout_as_it_was(project)
    assert project.repro() == {"evaluate"}
    project.run("dvc", "remote", "add", "-d", "storage", str(folder.parent / "storage"))
    yield project
    shutil.rmtree(folder)


def the_demo_leaves_the_checkout_as_it_was(project: Project) -> None:
    """`make demo` runs all but the evaluation, and its hashes stay out of the tracked dvc.lock."""
    assert project.stages_of("python", "-m", "training.reproduce") == STAGES - {"evaluate"}
    assert project.run("git", "status", "--porcelain") == ""
    assert project.stages_of("python", "-m", "training.reproduce") == set()
    # As `make repro` does, which goes on from there.
    (project.folder / "build" / "dvc.lock").replace(project.folder / "dvc.lock")


def test_no_clone_is_sent_to_a_remote_that_it_does_not_have(tmp_path: Path) -> None:
    shutil.copytree(ROOT / ".dvc", tmp_path / ".dvc", ignore=shutil.ignore_patterns("cache", "tmp"))
    (tmp_path / ".dvc" / "config.local").unlink(missing_ok=True)
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    project = Project(tmp_path)
    project.run("git", "init", "-q")
    with pytest.raises(AssertionError, match="No remote provided and no default remote set"):
        project.run("dvc", "pull")
    # What to do instead, and that no message of ours sends a newcomer there.
    config = (tmp_path / ".dvc" / "config").read_text()
    assert "make demo" in config
    assert "dvc remote add --local --default storage" in config
    sources = (p for folder in ("src", "service") for p in (ROOT / folder).rglob("*.py"))
    assert not [path for path in sources if "dvc pull" in path.read_text()]


def test_every_output_is_there_and_consistent(project: Project) -> None:
    manifest = read_manifest(project.folder / "build" / "export")
    verify_files(manifest, project.folder / "build" / "export")
    checkpoint = project.json("build/fine-tuned/retriever.json")
    served = {str(n): branches.model_dump() for n, branches in manifest.branches.items()}
    assert served == checkpoint["branches"]
    chosen = project.json("build/zero-shot/branches.json")
    assert {b["cell_tau"] for b in chosen.values()} <= {0.02, 0.2}
    metrics = project.json("results/metrics.json")
    assert {variant: set(grids) for variant, grids in metrics.items()} == {
        "zero-shot": {"1", "2"},
        "fine-tuned": {"1", "2"},
    }
    lengths = project.json("results/lengths.json")
    assert {r["length"] for r in lengths} == {"natural", 12, 30, "mixed"}
    shown = project.run("dvc", "metrics", "show")
    assert "fine-tuned.2.r1" in shown


def test_every_configuration_has_one_row(project: Project) -> None:
    rows = project.json("results/evaluation.json")
    keys = ("variant", "grid_size", "sampling", "unit", "pooling")
    configurations = {tuple(row[key] for key in keys) for row in rows}
    # Both variants: three units and three poolings at two N, three poolings of sparse frames.
    assert len(configurations) == len(rows) == 2 * (2 * 9 + 3)


def test_sparse_rows_cost_as_many_encodings(project: Project) -> None:
    rows = [r for r in project.json("results/evaluation.json") if r["grid_size"] == 2]
    encodes = {r["sampling"]: r["encodes_per_video"] for r in rows}
    assert encodes["sparse"] == encodes["super-image"]


def test_the_rest_of_the_story_in_order(project: Project) -> None:
    """One test, since each step starts from the state that the one before it left."""
    assert project.repro() == set()
    pushed_and_pulled(project)
    only_dependents_of_a_grid_would_run_again(project)


def pushed_and_pulled(project: Project) -> None:
    """What is pushed to a folder comes back byte for byte, and nothing has to run."""
    project.run("dvc", "push")
    before = (project.folder / "build/export/super_image_encoder.onnx").read_bytes()
    for name in ("data", "build", ".dvc/cache"):
        shutil.rmtree(project.folder / name)
    project.run("dvc", "pull")
    assert (project.folder / "build/export/super_image_encoder.onnx").read_bytes() == before
    assert all((project.folder / name).exists() for name in OUTPUTS)
    assert project.repro() == set()


def only_dependents_of_a_grid_would_run_again(project: Project) -> None:
    project.change({"grids": {"2": {"resolution": 96}}})
    assert project.repro("--dry") == {"encode", "finetune", "evaluate", "export"}
    project.change({"export": {"variant": "zero-shot"}})
    # Export of zero-shot needs the branches that `evaluate` chooses.
    assert "evaluate" in project.repro("--dry", "export")


def test_dvc_yaml_names_files_that_exist() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert list(stages) == list(MODULES)
    for name, stage in stages.items():
        assert stage["cmd"] == f"python -m {MODULES[name]}"
        for dependency in stage["deps"]:
            produced = dependency.startswith(("data/", "build/"))
            assert produced or (ROOT / dependency).exists(), dependency


def test_every_training_module_is_a_dependency_of_some_stage() -> None:
    """A module that no stage depends on could change results without a rerun."""
    text = (ROOT / "dvc.yaml").read_text()
    unnamed = {
        path.name
        for path in (ROOT / "training").iterdir()
        if path.name not in {"__pycache__", "presets"} and f"- training/{path.name}\n" not in text
    }
    assert unnamed == NO_STAGE


def test_the_committed_params_are_valid() -> None:
    assert load_params(ROOT / "params.yaml").serve.grid_sizes
