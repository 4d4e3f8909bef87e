"""Tile frames into super images (QASIR, arXiv 2312.00414, section 3): N x N frames, one picture.

frames        f0 f1 f2 f3 f4            N = 2
super images  [f0 f1]  [f4 ##]          ## = padded: black, masked, never scored
              [f2 f3]  [## ##]
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np

from qasir.errors import InvalidInput, MissingExtra
from qasir.types import Bool, Float64, Frame, SuperImage, Uint8

try:
    import cv2
except ModuleNotFoundError as error:
    raise MissingExtra(
        "qasir.super_images needs OpenCV; run: pip install 'qasir[video]'"
    ) from error

T = TypeVar("T")


@dataclass(frozen=True)
class SuperImageBatch:
    """S super images: pixels uint8 [S, R, R, 3], mask bool [S, N*N], times float64 [S, N*N, 2]."""

    pixels: Uint8
    mask: Bool
    times: Float64

    def __len__(self) -> int:
        return len(self.pixels)


@dataclass(frozen=True)
class Window:
    """Super images that are encoded together; `keep` selects those whose embeddings are used.

    Windows overlap so that every embedding that is used was made with both its neighbours.
    """

    batch: SuperImageBatch
    keep: slice


@dataclass(frozen=True)
class Span:
    """Super images [begin, end) of a video, one window; `keep` counts from `begin`."""

    begin: int
    end: int
    keep: slice


def cell_edges(grid_size: int, resolution: int) -> list[int]:
    """Return N + 1 pixel edges; cell sides differ by a pixel where N does not divide R.

    >>> cell_edges(3, 224)
    [0, 75, 149, 224]
    """
    return [round(i * resolution / grid_size) for i in range(grid_size + 1)]


def tile(frames: Iterable[Frame], grid_size: int, resolution: int) -> Iterator[SuperImage]:
    """Tile N x N consecutive frames into each super image, row-major; the last one is padded.

    Frames are stretched to their cell, so nothing at the border of a picture is lost.

    Raises:
        InvalidInput: N < 1, or a cell would have less than one pixel a side.
    """
    if grid_size < 1 or resolution < grid_size:
        raise InvalidInput(
            f"grid size {grid_size} at resolution {resolution}: N must be at least 1, R at least N"
        )
    edges = cell_edges(grid_size, resolution)
    source = iter(frames)
    while cells := list(islice(source, grid_size**2)):
        yield _super_image(cells, grid_size, edges)


def _super_image(cells: Sequence[Frame], grid_size: int, edges: list[int]) -> SuperImage:
    pixels = np.zeros((edges[-1], edges[-1], 3), np.uint8)
    mask = np.zeros(grid_size**2, np.bool_)
    times = np.zeros((grid_size**2, 2), np.float64)
    for position, frame in enumerate(cells):
        row, column = divmod(position, grid_size)
        top, bottom = edges[row], edges[row + 1]
        left, right = edges[column], edges[column + 1]
        pixels[top:bottom, left:right] = resize(frame.pixels, right - left, bottom - top)
        mask[position] = True
        times[position] = frame.start, frame.end
    return SuperImage(pixels, mask, times)


def resize(pixels: Uint8, width: int, height: int) -> Uint8:
    """Resize RGB uint8 [H, W, 3] to [height, width, 3] by area averaging, which does not alias."""
    result: Uint8 = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
    return result


def stack(images: Sequence[SuperImage]) -> SuperImageBatch:
    """Stack S >= 1 super images into three arrays."""
    return SuperImageBatch(
        np.stack([image.pixels for image in images]),
        np.stack([image.mask for image in images]),
        np.stack([image.times for image in images]),
    )


def window_spans(count: int, window: int, overlap: int = 0) -> list[Span]:
    """Return the spans of the windows over S = `count` super images.

    >>> [(span.begin, span.end, span.keep) for span in window_spans(5, window=4, overlap=2)]
    [(0, 4, slice(0, 3, None)), (2, 5, slice(1, 3, None))]

    Raises:
        InvalidInput: the overlap is negative or more than half a window.
    """
    groups = _overlapping(range(count), window, overlap)
    return [Span(numbers[0], numbers[-1] + 1, keep) for numbers, keep in groups]


def windows(images: Iterable[SuperImage], window: int, overlap: int = 0) -> Iterator[Window]:
    """Group super images into windows of at most W; `keep` slices cover each image exactly once.

    An image in two windows is kept from the one in which it is further from the edge.

    Raises:
        InvalidInput: the overlap is negative or more than half a window.
    """
    for group, keep in _overlapping(images, window, overlap):
        yield Window(stack(group), keep)


def _overlapping(items: Iterable[T], window: int, overlap: int) -> Iterator[tuple[list[T], slice]]:
    if overlap < 0 or overlap * 2 > window:
        raise InvalidInput(f"overlap {overlap} must be between 0 and half of window {window}")
    source = iter(items)
    current = list(islice(source, window))
    begin = 0
    while current:
        fresh = list(islice(source, window - overlap))
        end = len(current) - overlap // 2 if fresh else len(current)
        yield current, slice(begin, end)
        # The next window starts `overlap` items back; the first of them were kept already.
        current = current[len(current) - overlap :] + fresh if fresh else []
        begin = overlap - overlap // 2
