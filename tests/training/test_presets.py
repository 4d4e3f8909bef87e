"""Every backbone with every benchmark: valid params, the R its weights read, comments kept."""

import re
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

from qasir.config import Params, load_params
from qasir.errors import InvalidConfig
from training.preset import merge, names, overlay, write_preset

ROOT = Path(__file__).resolve().parents[2]
PAIRS = list(product(names("backbones"), names("datasets")))


def written(path: Path, backbone: str, dataset: str) -> Params:
    path.write_text((ROOT / "params.yaml").read_text())
    write_preset(path, backbone, dataset, Path("/annotations"), Path("/videos"))
    return load_params(path)


def test_there_are_the_backbones_and_benchmarks_of_the_paper_s_field() -> None:
    assert {"clip-b32", "clip-b16", "clip-l14", "clip-l14-336"} < set(names("backbones"))
    assert any(name.startswith("siglip") for name in names("backbones"))
    assert names("datasets") == ["activitynet", "charades", "tvr"]


@pytest.mark.parametrize(("backbone", "dataset"), PAIRS)
def test_a_preset_is_valid_and_says_what_it_is(tmp_path: Path, backbone: str, dataset: str) -> None:
    params = written(tmp_path / "params.yaml", backbone, dataset)
    assert params.prepare.dataset == dataset
    assert (params.prepare.annotations, params.prepare.videos) == (
        Path("/annotations"),
        Path("/videos"),
    )
    assert params.encode.backbone.startswith("hf:")
    assert params.export.name == f"{backbone}-{dataset}"


@pytest.mark.parametrize("backbone", names("backbones"))
def test_r_is_the_one_that_the_weights_name(tmp_path: Path, backbone: str) -> None:
    """Hub names end in patch<size>, and in -<R> where R is not 224."""
    params = written(tmp_path / "params.yaml", backbone, "tvr")
    found = re.search(r"patch(\d+)(?:-(\d+))?$", params.encode.backbone)
    assert found is not None
    side = int(found[2] or 224)
    assert side % int(found[1]) == 0
    assert {grid.resolution for grid in params.grids.values()} == {side}
    assert sorted(params.grids) == [1, 2, 3, 4]


@pytest.mark.parametrize("backbone", names("backbones"))
def test_the_comment_names_the_grids_whose_cells_align(backbone: str) -> None:
    text = (ROOT / "training/presets/backbones" / f"{backbone}.yaml").read_text()
    patch, side = re.search(r"patch(\d+)(?:-(\d+))?\n", text).groups()  # type: ignore[union-attr]  # a preset without is caught above
    places = int(side or 224) // int(patch)
    assert f"{places} x {places} patches" in text
    aligned = [n for n in (2, 3, 4) if places % n == 0]
    said = re.search(r"cells align at N = ([\d, and]+)\.", text)
    assert [int(n) for n in re.findall(r"\d", said[1])] == aligned if said else not aligned


def test_comments_and_what_a_preset_does_not_name_stay(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    params = written(path, "clip-b32", "charades")
    text = path.read_text()
    assert text.startswith((ROOT / "params.yaml").read_text().splitlines()[0])
    assert "# lite | hf:<name or folder>" in text
    before = load_params(ROOT / "params.yaml")
    assert (params.prepare.demo, params.encode.window) == (
        before.prepare.demo,
        before.encode.window,
    )


def test_a_second_preset_replaces_the_first(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    first = written(path, "siglip-b16-256", "tvr")
    write_preset(path, "clip-l14-336", "activitynet", Path("/a"), Path("/b"))
    write_preset(path, "siglip-b16-256", "tvr", Path("/annotations"), Path("/videos"))
    assert load_params(path) == first


def test_grids_are_replaced_whole() -> None:
    params: dict[str, Any] = {"grids": {"5": {"resolution": 512}}, "encode": {"window": 64}}
    merge(params, overlay("backbones", "clip-b32"))
    assert "5" not in params["grids"]
    assert params["encode"]["window"] == 64


def test_a_preset_that_there_is_not_names_those_that_are(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match=r"no preset .clip-b64.; .*clip-b32"):
        overlay("backbones", "clip-b64")


def test_a_params_file_that_would_be_invalid_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    params = yaml.safe_load((ROOT / "params.yaml").read_text())
    params["encode"]["misspelt"] = 1
    path.write_text(text := yaml.safe_dump(params))
    with pytest.raises(InvalidConfig, match=r"clip-b32 on tvr:[\s\S]*misspelt"):
        write_preset(path, "clip-b32", "tvr", Path("/a"), Path("/b"))
    assert path.read_text() == text
