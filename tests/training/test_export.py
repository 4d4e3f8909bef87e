"""The stage `export`: the variant that the parameters name, with its own branches."""

from pathlib import Path

import pytest
import torch

from qasir.config import Params, load_params
from qasir.errors import CorruptArtifact
from qasir.manifest import ScoreFusion, read_manifest, verify_files
from qasir.modeling.backbones import Backbone
from qasir.modeling.export import model_digest
from qasir.modeling.retriever import Retriever, save_retriever
from tests.support.models import BRANCHES, LEARNED, RESOLUTION
from training.evaluate.fusion import write_branches
from training.export import export, read_retriever

ROOT = Path(__file__).resolve().parents[2]
CHOSEN = {
    n: ScoreFusion(super_image_weight=0.25, super_image_tau=0.1, cell_tau=0.2) for n in BRANCHES
}


def params_of(variant: str) -> Params:
    """The project's own parameters, for the tiny backbone's side."""
    found = load_params(ROOT / "params.yaml").model_dump(by_alias=True)
    found["export"] |= {"variant": variant}
    found["grids"] = {n: {"resolution": RESOLUTION} for n in found["grids"]}
    return Params.model_validate(found)


@pytest.fixture
def branches_file(tmp_path: Path) -> Path:
    path = tmp_path / "branches.json"
    write_branches(BRANCHES, path)
    return path


@pytest.fixture
def checkpoint(tiny_backbone: Backbone, tiny_retriever: Retriever, tmp_path: Path) -> Path:
    folder = tmp_path / "finetune"
    folder.mkdir()
    tiny_retriever.branches = CHOSEN
    save_retriever(tiny_retriever, tiny_backbone, folder)
    return folder


def test_zero_shot_is_the_backbone_with_its_chosen_branches(
    tiny_backbone: Backbone, branches_file: Path, tmp_path: Path
) -> None:
    params = params_of("zero-shot")
    retriever = read_retriever(params, tiny_backbone, tmp_path / "nothing", branches_file)
    manifest = export(params, tiny_backbone, retriever, tmp_path / "export")
    assert (manifest.variant, manifest.dim) == ("zero-shot", tiny_backbone.dim)
    assert manifest.branches == {n: BRANCHES[n] for n in params.grids}
    assert read_manifest(tmp_path / "export") == manifest
    verify_files(manifest, tmp_path / "export")


def test_fine_tuned_is_the_checkpoint_with_its_branches(
    tiny_backbone: Backbone,
    tiny_retriever: Retriever,
    branches_file: Path,
    checkpoint: Path,
    tmp_path: Path,
) -> None:
    params = params_of("fine-tuned")
    torch.manual_seed(5)
    retriever = read_retriever(params, tiny_backbone, checkpoint, branches_file)
    manifest = export(params, tiny_backbone, retriever, tmp_path / "export")
    assert (manifest.variant, manifest.dim) == ("fine-tuned", tiny_backbone.dim + LEARNED.dim)
    assert manifest.branches == {n: CHOSEN[n] for n in params.grids}
    assert manifest.weights == model_digest(tiny_backbone, tiny_retriever)


def test_zero_shot_that_was_not_evaluated_is_refused(
    tiny_backbone: Backbone, checkpoint: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorruptArtifact, match=r"some\.json.*dvc repro evaluate"):
        read_retriever(params_of("zero-shot"), tiny_backbone, checkpoint, tmp_path / "some.json")


def test_fine_tuned_without_a_checkpoint_is_refused(
    tiny_backbone: Backbone, branches_file: Path, tmp_path: Path
) -> None:
    with pytest.raises(CorruptArtifact, match="dvc repro finetune"):
        read_retriever(params_of("fine-tuned"), tiny_backbone, tmp_path / "no", branches_file)
