"""Tiling and windows against painted frames and slow references."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qasir.errors import InvalidInput
from qasir.super_images import cell_edges, stack, tile, window_spans, windows
from qasir.types import Frame, SuperImage
from qasir.video import sample_frames
from tests.support.videos import PaintedVideo, painted_frame, painted_number


def flat_frames(count: int) -> list[Frame]:
    """Frame i is one colour, i + 1."""
    return [Frame(np.full((20, 30, 3), i + 1, np.uint8), float(i), i + 1.0) for i in range(count)]


@given(count=st.integers(1, 40), grid_size=st.integers(1, 4), resolution=st.integers(4, 50))
def test_every_frame_has_its_cell(count: int, grid_size: int, resolution: int) -> None:
    images = list(tile(flat_frames(count), grid_size, resolution))
    cells = grid_size**2
    assert len(images) == -(-count // cells)
    edges = cell_edges(grid_size, resolution)
    for number in range(len(images) * cells):
        image, position = images[number // cells], number % cells
        row, column = divmod(position, grid_size)
        cell = image.pixels[edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
        real = number < count
        assert image.mask[position] == real
        assert (cell == (number + 1 if real else 0)).all()
        assert image.times[position].tolist() == ([number, number + 1] if real else [0, 0])


def test_no_frames_no_super_image() -> None:
    assert list(tile([], 2, 64)) == []


def test_span_ignores_padding() -> None:
    image = list(tile(flat_frames(6), 2, 64))[1]
    assert image.times[image.mask].tolist() == [[4, 5], [5, 6]]


def test_frames_of_a_real_file_read_row_major(painted_video: PaintedVideo) -> None:
    path = painted_video(seconds=9, fps=10, size=(128, 96))
    image = next(iter(tile(sample_frames(path, 1.0), 3, 288)))
    cells = image.pixels.reshape(3, 96, 3, 96, 3).transpose(0, 2, 1, 3, 4).reshape(9, 96, 96, 3)
    found = [painted_number(np.ascontiguousarray(cell)) for cell in cells]
    assert [number // 10 for number in found] == list(range(9))


def test_colours_stay_rgb() -> None:
    red = np.zeros((10, 10, 3), np.uint8)
    red[..., 0] = 255
    image = next(iter(tile([Frame(red, 0, 1)], 1, 8)))
    assert image.pixels[4, 4].tolist() == [255, 0, 0]


def test_shrinking_averages() -> None:
    """Area averaging: a fine checkerboard becomes grey, not stripes."""
    board = (np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)
    image = next(iter(tile([Frame(np.repeat(board[..., None], 3, 2), 0, 1)], 1, 16)))
    assert np.ptp(image.pixels) <= 1


@pytest.mark.parametrize(("grid_size", "resolution"), [(0, 64), (3, 2)])
def test_impossible_grids(grid_size: int, resolution: int) -> None:
    with pytest.raises(InvalidInput, match=f"grid size {grid_size}"):
        list(tile(flat_frames(1), grid_size, resolution))


def numbered(count: int) -> list[SuperImage]:
    return list(tile([Frame(painted_frame(i, 8, 8), i, i + 1.0) for i in range(count)], 1, 8))


@given(st.data())
def test_windows_keep_each_image_once(data: st.DataObject) -> None:
    window = data.draw(st.integers(1, 20))
    overlap = data.draw(st.integers(0, window // 2))
    count = data.draw(st.integers(0, 70))
    kept: list[float] = []
    for part in windows(numbered(count), window, overlap):
        starts = part.batch.times[:, 0, 0].tolist()
        assert 1 <= len(starts) <= window
        assert starts == list(np.arange(starts[0], starts[0] + len(starts)))
        kept += starts[part.keep]
    assert kept == list(range(count))


@given(st.data())
def test_spans_are_those_of_the_windows(data: st.DataObject) -> None:
    window = data.draw(st.integers(1, 20))
    overlap = data.draw(st.integers(0, window // 2))
    count = data.draw(st.integers(0, 70))
    spans = window_spans(count, window, overlap)
    parts = list(windows(numbered(count), window, overlap))
    begins = [int(part.batch.times[0, 0, 0]) for part in parts]
    assert [span.begin for span in spans] == begins
    assert [span.end - span.begin for span in spans] == [len(part.batch) for part in parts]
    assert [span.keep for span in spans] == [part.keep for part in parts]


def test_kept_images_stand_away_from_the_seams() -> None:
    parts = list(windows(numbered(40), 16, 8))
    for part in parts[:-1]:
        assert len(part.batch) - part.keep.stop == 4
    for part in parts[1:]:
        assert part.keep.start == 4


def test_windows_refuse_more_overlap_than_half() -> None:
    with pytest.raises(InvalidInput, match="overlap 9"):
        list(windows(numbered(3), 16, 9))
    with pytest.raises(InvalidInput, match="overlap 9"):
        window_spans(3, 16, 9)


def test_stack_shapes() -> None:
    batch = stack(list(tile(flat_frames(7), 2, 64)))
    assert batch.pixels.shape == (2, 64, 64, 3)
    assert batch.mask.shape == (2, 4)
    assert batch.times.shape == (2, 4, 2)
    assert len(batch) == 2
