"""Previews: a super image's frames as people want to see them, one JPEG per super image.

A super image squeezes frames to a square for the model; its preview keeps their aspect. The decode
process writes previews while it has the frames, so that showing one never decodes video in the
service.
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
        height = min(CELL_HEIGHT, frame.pixels.shape[0])
        width = max(1, round(frame.pixels.shape[1] * height / frame.pixels.shape[0]))
        cells.append(resize(frame.pixels, width, height))
        if len(cells) == grid_size**2:
            _write(cells, grid_size, preview_path(folder, number))
            cells, number = [], number + 1
        yield frame
    if cells:
        _write(cells, grid_size, preview_path(folder, number))


def preview_path(folder: Path, number: int) -> Path:
    return folder / f"{number}.jpg"


def read_preview(folder: Path, number: int) -> bytes:
    """Read the preview of a super image as JPEG.

    Raises:
        NotFound: the video has no such super image.
    """
    try:
        return preview_path(folder, number).read_bytes()
    except FileNotFoundError as error:
        raise NotFound(
            f"the picture of super image {number} is lost; delete the video and send it again"
        ) from error


def read_cell(folder: Path, grid_size: int, frame: int) -> bytes:
    """Cut sampled frame number `frame` out of its preview, as JPEG.

    Raises:
        NotFound: the video has no such frame.
        CorruptArtifact: the preview is no picture.
    """
    number, position = divmod(frame, grid_size**2)
    encoded = np.frombuffer(read_preview(folder, number), np.uint8)
    preview = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    if preview is None:
        raise CorruptArtifact(f"preview {number} of {folder.parent} is no picture; ingest again")
    height, width = preview.shape[0] // grid_size, preview.shape[1] // grid_size
    top, left = position // grid_size * height, position % grid_size * width
    return _jpeg(preview[top : top + height, left : left + width])


def _write(cells: list[Uint8], grid_size: int, path: Path) -> None:
    height, width = cells[0].shape[:2]
    preview = np.zeros((grid_size * height, grid_size * width, 3), np.uint8)
    for position, cell in enumerate(cells):
        row, column = divmod(position, grid_size)
        # A stream may change its size half-way; the preview keeps the size it began with.
        fitted = cell if cell.shape == cells[0].shape else resize(cell, width, height)
        preview[row * height :, column * width :][:height, :width] = fitted
    temporary = path.with_suffix(".tmp")
    # No fsync: a lost preview is remade by ingesting again, and thousands of fsyncs cost minutes.
    temporary.write_bytes(_jpeg(cv2.cvtColor(preview, cv2.COLOR_RGB2BGR)))
    temporary.replace(path)


def _jpeg(pixels: Uint8) -> bytes:
    _, encoded = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return bytes(encoded)
