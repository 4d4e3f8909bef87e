"""Vector files come back as written, views hold real cells only, anything else is refused."""

from pathlib import Path

import numpy as np
import pytest

from qasir.errors import CorruptArtifact
from qasir.vectors import VideoVectors, join, read_vectors, take, to_float32, write_vectors
from tests.support.vectors import SPEC, random_video


def video(frames: int = 10) -> VideoVectors:
    """S = 3 at N = 2, the last one with two real cells."""
    return random_video(np.random.default_rng(0), frames, dim=5)


def test_round_trip(tmp_path: Path) -> None:
    write_vectors(video(), tmp_path / "deep" / "a.npz")
    found = read_vectors(tmp_path / "deep" / "a.npz")
    assert found.spec == SPEC
    for name in ("embeddings", "mask", "times"):
        np.testing.assert_array_equal(getattr(found, name), getattr(video(), name))
    assert found.embeddings.dtype == np.float16
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["a.npz"]


def test_every_cut_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    write_vectors(video(), path)
    data = path.read_bytes()
    for length in range(0, len(data), max(1, len(data) // 40)):
        path.write_bytes(data[:length])
        with pytest.raises(CorruptArtifact, match=r"a\.npz"):
            read_vectors(path)


def test_a_file_of_super_images_alone_is_refused(tmp_path: Path) -> None:
    """What the format was before cells: the arrays of today are not in it."""
    spec = np.frombuffer(SPEC.model_dump_json().encode(), np.uint8)
    mask, times, vectors = video().mask, video().times, video().super_images
    np.savez(tmp_path / "old.npz", spec=spec, vectors=vectors, mask=mask, times=times)
    with pytest.raises(
        CorruptArtifact, match=r"old\.npz is not a vector file.*ingest the video again"
    ):
        read_vectors(tmp_path / "old.npz")


def test_parts_that_do_not_belong_together() -> None:
    whole, part = video(10), video(8)
    for embeddings, mask, times in (
        (whole.embeddings, part.mask, whole.times),
        (whole.embeddings, whole.mask, part.times),
        (whole.embeddings[:, 1:], whole.mask, whole.times),
        (whole.super_images, whole.mask, whole.times),
    ):
        with pytest.raises(CorruptArtifact, match="N = 2"):
            VideoVectors(SPEC, embeddings, mask, times)


def test_a_video_has_frames() -> None:
    nothing = np.zeros_like(video().mask)
    with pytest.raises(CorruptArtifact, match="none of 12 cells is real"):
        VideoVectors(SPEC, video().embeddings, nothing, video().times)


def test_views_are_in_order_and_leave_padding_out() -> None:
    whole = video(10)
    assert whole.super_images.shape == (3, 5)
    assert whole.cell_positions.tolist() == list(range(10))
    assert whole.cell_times[:, 0].tolist() == list(range(10))
    for place, cell in zip(whole.cell_positions, whole.cells, strict=True):
        np.testing.assert_array_equal(cell, whole.embeddings[place // 4, 1 + place % 4])
    assert np.linalg.norm(whole.cells.astype(np.float32), axis=1).min() > 0.99


def test_rows_are_those_of_the_unit() -> None:
    whole = video()
    np.testing.assert_array_equal(whole.rows("super-image"), whole.embeddings[:, 0])
    np.testing.assert_array_equal(whole.rows("cell"), whole.cells)


def test_to_float32ing_changes_no_value() -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)]
    np.testing.assert_array_equal(to_float32(halves), halves.astype(np.float32))
    assert np.signbit(to_float32(np.array([-0.0], np.float16)))[0]


def test_to_float32ing_follows_strides_and_shapes() -> None:
    rows = video().embeddings[:, 0]
    np.testing.assert_array_equal(to_float32(rows), rows.astype(np.float32))
    np.testing.assert_array_equal(
        to_float32(video().embeddings), video().embeddings.astype(np.float32)
    )


def test_taking_super_images_keeps_their_times_and_joining_restores_the_video() -> None:
    whole = video(40)
    kept = take(whole, np.array([2, 6, 9]))
    np.testing.assert_array_equal(kept.embeddings, whole.embeddings[[2, 6, 9]])
    assert kept.times[:, 0, 0].tolist() == [8.0, 24.0, 36.0]
    assert len(kept.mask) == 3
    joined = join([take(whole, np.arange(3)), take(whole, np.arange(3, 10))])
    assert joined.spec == whole.spec
    for name in ("embeddings", "mask", "times"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
