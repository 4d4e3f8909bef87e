"""Sheets: the frames of a super image in their own aspect, found again by frame number."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from qasir.errors import CorruptArtifact, NotFound
from qasir.types import Frame, Uint8
from service.storage.previews import (
    CELL_HEIGHT,
    preview_path,
    read_cell,
    read_preview,
    write_previews,
)
from tests.support.videos import painted_frame, painted_number


def frame(number: int, size: tuple[int, int] = (640, 360)) -> Frame:
    return Frame(painted_frame(number, *size), float(number), number + 1.0)


def picture(jpeg: bytes) -> Uint8:
    decoded = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded, np.uint8)


def test_frames_pass_through_unchanged(tmp_path: Path) -> None:
    frames = [frame(n) for n in range(5)]
    assert list(write_previews(iter(frames), 2, tmp_path)) == frames
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0.jpg", "1.jpg"]


@pytest.mark.parametrize("grid_size", [1, 2, 3])
def test_every_frame_is_found_again(tmp_path: Path, grid_size: int) -> None:
    list(write_previews((frame(n) for n in range(11)), grid_size, tmp_path))
    cells = [picture(read_cell(tmp_path, grid_size, n)) for n in range(11)]
    assert [painted_number(cell) for cell in cells] == list(range(11))
    assert {cell.shape for cell in cells} == {(CELL_HEIGHT, 320, 3)}


def test_small_frames_are_not_blown_up(tmp_path: Path) -> None:
    list(write_previews([frame(0, (64, 48))], 2, tmp_path))
    assert picture(read_preview(tmp_path, 0)).shape == (96, 128, 3)


def test_colours_are_right(tmp_path: Path) -> None:
    red = np.zeros((100, 100, 3), np.uint8)
    red[..., 0] = 255
    list(write_previews([Frame(red, 0.0, 1.0)], 1, tmp_path))
    blue, _, strongest = picture(read_preview(tmp_path, 0))[50, 50]
    assert strongest > 200 > 50 > blue


def test_size_that_changes_half_way_keeps_the_first(tmp_path: Path) -> None:
    list(write_previews([frame(1), frame(2, (360, 640))], 2, tmp_path))
    assert picture(read_preview(tmp_path, 0)).shape == (2 * CELL_HEIGHT, 640, 3)
    assert painted_number(picture(read_cell(tmp_path, 2, 1))) == 2


def test_missing_and_broken_sheets_are_typed(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="super image 7"):
        read_preview(tmp_path, 7)
    preview_path(tmp_path, 0).write_bytes(b"no picture")
    with pytest.raises(CorruptArtifact):
        read_cell(tmp_path, 2, 0)
