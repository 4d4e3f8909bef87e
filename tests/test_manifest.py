"""Specs and fingerprints: what changes a vector changes the fingerprint, nothing else does."""

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from qasir.errors import CorruptArtifact, UnsupportedGrid
from qasir.manifest import (
    Manifest,
    Preprocessing,
    Profile,
    ScoreFusion,
    TokenizerSpec,
    fingerprint,
    read_manifest,
    write_manifest,
)

PLAIN = Preprocessing()
EVEN = ScoreFusion(super_image_weight=0.5, super_image_tau=0.05, cell_tau=0.1)


def manifest(**changes: Any) -> Manifest:
    values = {
        "name": "m",
        "backbone": "lite",
        "variant": "zero-shot",
        "weights": "w",
        "dim": 8,
        "window": 64,
        "window_overlap": 0,
        "grids": {1: 224, 2: 256},
        "branches": {1: EVEN, 2: EVEN},
        "fps": (1.0,),
        "preprocessing": PLAIN,
        "tokenizer": TokenizerSpec(pad_id=0, buckets=(16,)),
        "profile": Profile(grid_sizes=(2,), fps=1.0, index_unit="super-image"),
        "files": {},
    }
    return Manifest.model_validate(values | changes)


def test_fingerprint_changes_with_what_changes_vectors() -> None:
    other = Preprocessing(color="bgr")
    found = {
        fingerprint("w", PLAIN, 8, 64),
        fingerprint("x", PLAIN, 8, 64),
        fingerprint("w", other, 8, 64),
        fingerprint("w", PLAIN, 9, 64),
        fingerprint("w", PLAIN, 8, 32),
    }
    assert len(found) == 5
    assert manifest().fingerprint == fingerprint("w", PLAIN, 8, 64)
    other_scores = {1: EVEN, 2: EVEN.model_copy(update={"cell_tau": 0.5})}
    renamed = manifest(branches=other_scores, name="other")
    assert renamed.fingerprint == manifest().fingerprint


@pytest.mark.parametrize("branches", [{}, {2: EVEN}, {1: EVEN, 2: EVEN, 3: EVEN}])
def test_every_grid_has_its_branches(branches: dict[int, ScoreFusion]) -> None:
    with pytest.raises(ValidationError, match=r"grids for N \[1, 2\]"):
        manifest(branches=branches)


@pytest.mark.parametrize(
    "wrong", [{"super_image_weight": 1.1}, {"super_image_tau": 0.0}, {"cell_tau": -1.0}]
)
def test_branches_have_limits(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        ScoreFusion.model_validate(EVEN.model_dump() | wrong)


def test_known_texts_have_as_many_numbers_as_the_model() -> None:
    seven = {"text": "a dog", "vector": [0.0] * 7}
    with pytest.raises(ValidationError, match=r"known text 'a dog': needs D = 8 numbers"):
        manifest(known_texts=(seven,))


def test_known_texts_do_not_change_the_fingerprint() -> None:
    known = manifest(known_texts=({"text": "a dog", "vector": [0.5] * 8},))
    assert known.fingerprint == manifest().fingerprint


def test_a_manifest_from_before_known_texts_is_read(tmp_path: Path) -> None:
    write_manifest(manifest(), tmp_path)
    old = json.loads((tmp_path / "manifest.json").read_text())
    del old["known_texts"]
    (tmp_path / "manifest.json").write_text(json.dumps(old))
    assert read_manifest(tmp_path) == manifest()


def test_each_unit_has_its_tau() -> None:
    assert (EVEN.tau("super-image"), EVEN.tau("cell")) == (0.05, 0.1)


def test_round_trip(tmp_path: Path) -> None:
    write_manifest(manifest(), tmp_path)
    assert read_manifest(tmp_path) == manifest()


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match="dvc repro export"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "m", "surprise": 1}')
    with pytest.raises(CorruptArtifact, match=r"(?s)surprise.*export the model again"):
        read_manifest(tmp_path)


def test_spec_of_an_unsupported_grid() -> None:
    with pytest.raises(UnsupportedGrid, match=r"grid size 4.*\[1, 2\]"):
        manifest().spec(4)
    with pytest.raises(UnsupportedGrid, match=r"3\.0 fps"):
        manifest().spec(2, fps=3.0)


def test_specs_tell_models_and_resolutions_apart() -> None:
    assert manifest().spec(2) == manifest().spec(2)
    assert manifest().spec(2).fingerprint != manifest(weights="x").spec(2).fingerprint
    assert manifest().spec(2) != manifest(grids={2: 320}, branches={2: EVEN}).spec(2)


def test_a_profile_indexes_its_grid_sizes_and_may_name_a_finer_one() -> None:
    made = manifest()
    assert [spec.grid_size for spec in made.specs] == [2]
    assert made.profile.hybrid is None
