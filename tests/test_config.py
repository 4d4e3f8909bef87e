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
        ("prepare", "dataset", "youtube", "dataset"),
    ],
)
def test_wrong_values(tmp_path: Path, section: str, key: str, value: object, message: str) -> None:
    with pytest.raises(InvalidConfig, match=message):
        load_params(changed(tmp_path, section, key, value))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="project root"):
        load_params(tmp_path / "params.yaml")
