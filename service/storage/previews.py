"""Sheets: a super image's frames as people want to see them, one JPEG per super image.

A super image squeezes frames to a square for the model; its sheet keeps their aspect.
The decode process writes sheets while it has the frames, so that showing a picture
never decodes video in the service.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from qasir.errors import CorruptArtifact, NotFound
from qasir.super_images import resize
from qasir.types import Frame, Uint8

CELL_HEIGHT = 180
JPEG_QUALITY = 80


def write_previews(frames: Iterable[Frame], grid_size: int, folder: Path) -> Iterator[Frame]:
    """Pass frames on, and write `folder`/<n>.jpg for every N x N of them."""
    folder.mkdir(parents=True, exist_ok=True)
    cells: list[Uint8] = []
    number = 0
    for frame in frames:
        cells.append(_cell(frame.pixels))
        if len(cells) == grid_size**2:
            _write(cells, grid_size, sheet_path(folder, number))
            cells, number = [], number + 1
        yield frame
    if cells:
        _write(cells, grid_size, sheet_path(folder, number))


def sheet_path(folder: Path, number: int) -> Path:
    """The sheet of super image `number`."""
    return folder / f"{number}.jpg"


def read_preview(folder: Path, number: int) -> bytes:
    """JPEG bytes of a whole sheet.

    Raises:
        NotFound: the video has no such super image.
    """
    try:
        return sheet_path(folder, number).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"the picture of super image {number} is lost; delete the video and send it again"
        ) from error


def read_cell(folder: Path, grid_size: int, frame: int) -> bytes:
    """JPEG bytes of sampled frame number `frame`, cut out of its sheet.

    Raises:
        NotFound: the video has no such frame.
        CorruptArtifact: the sheet is no picture.
    """
    number, position = divmod(frame, grid_size**2)
    encoded = np.frombuffer(read_preview(folder, number), np.uint8)
    sheet = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if sheet is None:
        raise CorruptArtifact(f"sheet {number} of {folder.parent} is no picture; ingest again")
    height, width = sheet.shape[0] // grid_size, sheet.shape[1] // grid_size
    top, left = position // grid_size * height, position % grid_size * width
    return _jpeg(sheet[top : top + height, left : left + width])


def _cell(pixels: Uint8) -> Uint8:
    height = min(CELL_HEIGHT, pixels.shape[0])
    width = max(1, round(pixels.shape[1] * height / pixels.shape[0]))
    return resize(pixels, width, height)


def _write(cells: list[Uint8], grid_size: int, path: Path) -> None:
    height, width = cells[0].shape[:2]
    sheet = np.zeros((grid_size * height, grid_size * width, 3), np.uint8)
    for position, cell in enumerate(cells):
        row, column = divmod(position, grid_size)
        # A stream may change its size half-way; the sheet keeps the size it began with.
        fitted = cell if cell.shape == cells[0].shape else resize(cell, width, height)
        sheet[row * height :, column * width :][:height, :width] = fitted
    temporary = path.with_suffix(".tmp")
    # No fsync: a lost sheet is remade by ingesting again, and thousands of fsyncs cost minutes.
    temporary.write_bytes(_jpeg(cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR)))
    temporary.replace(path)


def _jpeg(pixels: Uint8) -> bytes:
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(encoded)
