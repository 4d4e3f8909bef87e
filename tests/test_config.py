"""params.yaml: the project's own is valid, and a misspelt key is an error."""

from pathlib import Path

import pytest
import yaml

from qasir.config import load_params
from qasir.errors import InvalidConfig

ROOT = Path(__file__).resolve().parents[1]


def changed(tmp_path: Path, section: str, key: str, value: object) -> Path:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values[section][key] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_the_projects_own() -> None:
    params = load_params(ROOT / "params.yaml")
    assert params.resolution(2) == params.grids[2].resolution
    with pytest.raises(InvalidConfig, match="grid size 7"):
        params.resolution(7)


@pytest.mark.parametrize(
    ("section", "key", "value", "message"),
    [
        ("encode", "bach_size", 3, "bach_size"),
        ("encode", "fps", 0, "fps"),
        ("encode", "window_overlap", 60, "window_overlap 60"),
        ("serve", "grid_sizes", [5], r"\[5\]"),
        ("serve", "hybrid", {"grid_size": 5, "k": 20}, r"\[5\]"),
        ("serve", "hybrid", {"grid_size": 1, "k": 51}, "hybrid.k"),
        ("prepare", "dataset", "youtube", "dataset"),
        ("finetune", "super_image_branch", None, "super_image_branch"),
        ("finetune", "backbone", "thawed", "backbone"),
        ("finetune", "residual_ratios", [0.1, 1.1], "residual_ratios"),
        ("finetune", "precision", "fp8", "precision"),
    ],
)
def test_wrong_values(tmp_path: Path, section: str, key: str, value: object, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_params(changed(tmp_path, section, key, value))


def test_a_score_needs_a_branch(tmp_path: Path) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())
    values["finetune"] |= {"super_image_branch": False, "cell_branch": False}
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(values))
    with pytest.raises(InvalidConfig, match="set one to true"):
        load_params(path)


def test_heads_share_what_the_temporal_encoder_works_in(tmp_path: Path) -> None:
    learned = yaml.safe_load((ROOT / "params.yaml").read_text())["finetune"]["retriever"]
    wrong = learned | {"dim": 100, "heads": 3}
    with pytest.raises(InvalidConfig, match="dim 100 is not a multiple of 2 x heads 3"):
        load_params(changed(tmp_path, "finetune", "retriever", wrong))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="project root"):
        load_params(tmp_path / "params.yaml")
