"""Passports and fingerprints: what changes a vector changes the fingerprint, nothing else does."""

from pathlib import Path
from typing import Any

import pytest

from qasir.errors import CorruptArtifact, FingerprintMismatch, UnsupportedGrid
from qasir.manifest import (
    Manifest,
    Preprocessing,
    Profile,
    TokenizerSpec,
    fingerprint,
    read_manifest,
    write_manifest,
)

PLAIN = Preprocessing()


def manifest(**changes: Any) -> Manifest:
    values = {
        "name": "m",
        "backbone": "lite",
        "variant": "zero-shot",
        "weights": "w",
        "dim": 8,
        "window": 64,
        "window_overlap": 0,
        "tau": 0.05,
        "grids": {1: 224, 2: 256},
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
    assert manifest(tau=0.5, name="other").fingerprint == manifest().fingerprint


def test_round_trip(tmp_path: Path) -> None:
    write_manifest(manifest(), tmp_path)
    assert read_manifest(tmp_path) == manifest()


def test_missing_and_broken_files(tmp_path: Path) -> None:
    with pytest.raises(CorruptArtifact, match="dvc repro export"):
        read_manifest(tmp_path)
    (tmp_path / "manifest.json").write_text('{"name": "m", "surprise": 1}')
    with pytest.raises(CorruptArtifact, match="surprise"):
        read_manifest(tmp_path)


def test_passport_of_an_unsupported_grid() -> None:
    with pytest.raises(UnsupportedGrid, match=r"grid size 4.*\[1, 2\]"):
        manifest().passport(4)
    with pytest.raises(UnsupportedGrid, match=r"3\.0 fps"):
        manifest().passport(2, fps=3.0)


def test_check_shows_both_fingerprints() -> None:
    one, other = manifest(), manifest(weights="x")
    one.check(one.passport(2))
    with pytest.raises(FingerprintMismatch) as caught:
        one.check(other.passport(2))
    assert one.fingerprint in str(caught.value)
    assert other.fingerprint in str(caught.value)


def test_check_refuses_another_resolution() -> None:
    with pytest.raises(UnsupportedGrid, match="R 320"):
        manifest().check(manifest(grids={2: 320}).passport(2))
