"""Vector files come back as written, and anything else is refused."""

from pathlib import Path

import numpy as np
import pytest

from qasir.errors import CorruptArtifact
from qasir.manifest import Passport
from qasir.vectors import VideoVectors, read_vectors, write_vectors

PASSPORT = Passport(fingerprint="f" * 16, grid_size=2, resolution=64, fps=0.5)


def video(count: int = 3) -> VideoVectors:
    rng = np.random.default_rng(0)
    times = np.arange(count * 8, dtype=np.float64).reshape(count, 4, 2)
    vectors = rng.normal(size=(count, 5)).astype(np.float16)
    return VideoVectors(PASSPORT, vectors, np.ones((count, 4), np.bool_), times)


def test_round_trip(tmp_path: Path) -> None:
    write_vectors(video(), tmp_path / "deep" / "a.npz")
    found = read_vectors(tmp_path / "deep" / "a.npz")
    assert found.passport == PASSPORT
    for name in ("vectors", "mask", "times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(video(), name))
    assert found.vectors.dtype == np.float16
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.npz"]


def test_every_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_vectors(video(), path)
    data = path.read_bytes()
    for length in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptArtifact, match=r"a\.npz"):
            read_vectors(path)


def test_parts_that_do_not_belong_together() -> None:
    with pytest.raises(CorruptArtifact, match="N = 2"):
        VideoVectors(PASSPORT, video(3).vectors, video(2).mask, video(3).times)
