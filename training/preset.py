"""Sets `params.yaml` for a backbone and a benchmark, from one small overlay each.

    python -m training.preset clip-l14-336 activitynet --annotations DIR --videos DIR

The command edits `params.yaml` in place and keeps its comments, so `dvc repro` needs no option
and `git diff` shows what the preset changed.
"""

import argparse
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError
from ruamel.yaml import YAML

from qasir.artifacts import atomic_write
from qasir.config import Params
from qasir.errors import InvalidConfig
from training.progress import console

PRESETS = Path(__file__).parent / "presets"
PARAMS = Path("params.yaml")
Kind = Literal["backbones", "datasets"]

# Replaced, not merged: an N that is left over would keep the R of another backbone.
WHOLE = frozenset({"grids"})


def names(kind: Kind) -> list[str]:
    """Lists the presets of one kind."""
    return sorted(path.stem for path in (PRESETS / kind).glob("*.yaml"))


def overlay(kind: Kind, name: str) -> dict[str, Any]:
    """Reads the values that a preset sets.

    Raises:
        InvalidConfig: there is no such preset.
    """
    if name not in names(kind):
        raise InvalidConfig(f"no preset '{name}'; choose one of {names(kind)}")
    values: dict[str, Any] = YAML().load(PRESETS / kind / f"{name}.yaml")
    return values


def merge(into: MutableMapping[str, Any], values: Mapping[str, Any]) -> None:
    """Sets `values` in `into`, section by section; all other values stay.

    >>> params = {"encode": {"fps": 1.0, "window": 64}, "grids": {"1": 224, "2": 256}}
    >>> merge(params, {"encode": {"fps": 0.5}, "grids": {"2": 336}})
    >>> params
    {'encode': {'fps': 0.5, 'window': 64}, 'grids': {'2': 336}}
    """
    for key, value in values.items():
        if isinstance(value, Mapping) and isinstance(into.get(key), Mapping) and key not in WHOLE:
            merge(into[key], value)
        else:
            into[key] = value


def write_preset(path: Path, backbone: str, dataset: str, annotations: Path, videos: Path) -> None:
    """Rewrites a params file for a backbone on a benchmark.

    Raises:
        InvalidConfig: no such preset, or the result is invalid; the file stays unchanged.
    """
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 100
    params = yaml.load(path)
    merge(params, overlay("datasets", dataset))
    merge(params, overlay("backbones", backbone))
    params["prepare"] |= {"annotations": str(annotations), "videos": str(videos)}
    params["export"]["name"] = f"{backbone}-{dataset}"
    try:
        Params.model_validate(params)
    except ValidationError as error:
        raise InvalidConfig(f"{path} with {backbone} on {dataset}: {error}") from error
    with atomic_write(path) as file:
        yaml.dump(params, file)


def main() -> None:
    parser = argparse.ArgumentParser(description="Set params.yaml for a backbone and a benchmark.")
    parser.add_argument("backbone", choices=names("backbones"))
    parser.add_argument("dataset", choices=names("datasets"))
    parser.add_argument("--annotations", type=Path, required=True, metavar="DIR")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR")
    chosen = parser.parse_args()
    write_preset(PARAMS, chosen.backbone, chosen.dataset, chosen.annotations, chosen.videos)
    console.print(f"params.yaml: {chosen.backbone} on {chosen.dataset}; next: dvc repro")


if __name__ == "__main__":
    main()
