"""Checkpoints: found again by what they are of, and by nothing else."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from qasir.manifest import EmbeddingSpec
from qasir.super_images import SuperImageBatch
from service.folders import StateFolders
from service.storage.checkpoints import KEEP_SECONDS, Checkpoint, sweep

SPEC = EmbeddingSpec(fingerprint="f" * 16, grid_size=2, resolution=8, fps=1.0)
UNITS = np.arange(3 * 5 * 4, dtype=np.float16).reshape(3, 5, 4)


def batch(seed: int = 0) -> SuperImageBatch:
    pixels = np.random.default_rng(seed).integers(0, 256, (3, 8, 8, 3), np.uint8)
    return SuperImageBatch(pixels, np.ones((3, 4), np.bool_), np.zeros((3, 4, 2)))


@pytest.fixture
def folders(tmp_path: Path) -> StateFolders:
    made = StateFolders(tmp_path)
    made.create()
    return made


def test_a_window_is_found_by_its_pixels_mask_and_spec(folders: StateFolders) -> None:
    checkpoint = Checkpoint(folders, "va")
    checkpoint.write(SPEC, batch(), UNITS)
    found = checkpoint.read(SPEC, batch())
    np.testing.assert_array_equal(found, UNITS)
    assert checkpoint.read(SPEC, batch(seed=1)) is None
    masked = batch()
    masked.mask[2, 3] = False
    assert checkpoint.read(SPEC, masked) is None
    for changed in ({"fingerprint": "e" * 16}, {"fps": 2.0}, {"resolution": 16}):
        assert checkpoint.read(SPEC.model_copy(update=changed), batch()) is None
    assert Checkpoint(folders, "vb").read(SPEC, batch()) is None
    checkpoint.clear()
    assert checkpoint.read(SPEC, batch()) is None


@pytest.mark.parametrize("content", [b"", b"nonsense", None])
def test_half_a_window_is_none(folders: StateFolders, content: bytes | None) -> None:
    checkpoint = Checkpoint(folders, "va")
    checkpoint.write(SPEC, batch(), UNITS)
    (path,) = (folders.checkpoints / "va").iterdir()
    path.write_bytes(path.read_bytes()[:-7] if content is None else content)
    assert checkpoint.read(SPEC, batch()) is None


def test_units_of_another_shape_are_none(folders: StateFolders) -> None:
    checkpoint = Checkpoint(folders, "va")
    checkpoint.write(SPEC, batch(), UNITS[:, :4])
    assert checkpoint.read(SPEC, batch()) is None


def test_what_nobody_came_back_to_is_swept(folders: StateFolders) -> None:
    for video_id in ("va", "vb"):
        Checkpoint(folders, video_id).write(SPEC, batch(), UNITS)
    os.utime(folders.checkpoints / "va", (time.time() - KEEP_SECONDS - 1,) * 2)
    sweep(folders)
    assert [path.name for path in folders.checkpoints.iterdir()] == ["vb"]
