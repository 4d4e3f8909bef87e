"""Paints the frames of a planned film: concepts moving over backgrounds.

A moment's background is drawn once. A frame costs one crop, and one small affine warp and one
blend per actor.
"""

from collections.abc import Iterator
from functools import cache
from math import ceil, cos, radians, sin

import cv2
import numpy as np

from qasir.types import Float32, Uint8
from training.data.emoji import SPRITE_SIDE, sprite
from training.data.scenes import Actor, Background, Film, Point, Scene


def paint(film: Film, width: int, height: int) -> Iterator[Uint8]:
    """Yields the frames of a film in order: RGB uint8 [height, width, 3]."""
    for scene in film.scenes:
        yield from _paint_scene(scene, width, height)


def _paint_scene(scene: Scene, width: int, height: int) -> Iterator[Uint8]:
    pan_x, pan_y = scene.background.pan
    canvas = paint_background(scene.background, width + ceil(abs(pan_x)), height + ceil(abs(pan_y)))
    for index in range(scene.frames):
        share = index / max(1, scene.frames - 1)
        left = round(abs(pan_x) * (share if pan_x > 0 else 1 - share))
        top = round(abs(pan_y) * (share if pan_y > 0 else 1 - share))
        frame = canvas[top : top + height, left : left + width].copy()
        for actor in scene.actors:
            _draw(frame, actor, share)
        yield frame


def paint_background(background: Background, width: int, height: int) -> Uint8:
    """Mixes the two colours by the pattern of this kind: RGB uint8 [height, width, 3]."""
    random = np.random.default_rng(background.seed)
    mix = _PATTERNS[background.kind](random, width, height)[..., None]
    first, second = (np.array(color, np.float32) for color in background.colors)
    painted: Uint8 = (first + (second - first) * mix).astype(np.uint8)
    return painted


def _gradient(random: np.random.Generator, width: int, height: int) -> Float32:
    angle = random.uniform(0, 2 * np.pi)
    y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
    return np.asarray((x * cos(angle) + y * sin(angle)) / 2.83 + 0.5, np.float32)


def _noise(random: np.random.Generator, width: int, height: int) -> Float32:
    coarse = random.random((height // 24 + 2, width // 24 + 2), np.float32)
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth.clip(0, 1), np.float32)


def _stripes(random: np.random.Generator, width: int, height: int) -> Float32:
    angle, period = random.uniform(0, np.pi), random.uniform(24, 60)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    wave = np.sin((x * cos(angle) + y * sin(angle)) * (2 * np.pi / period))
    return np.asarray(wave > 0, np.float32)


def _checks(random: np.random.Generator, width: int, height: int) -> Float32:
    side = int(random.integers(20, 50))
    y, x = np.mgrid[:height, :width]
    return np.asarray((x // side + y // side) % 2, np.float32)


def _dots(random: np.random.Generator, width: int, height: int) -> Float32:
    mask = np.zeros((height, width), np.uint8)
    for _ in range(40):
        center = (int(random.integers(width)), int(random.integers(height)))
        cv2.circle(mask, center, int(random.integers(6, 26)), int(random.integers(90, 256)), -1)
    return np.asarray(mask / 255, np.float32)


_PATTERNS = {
    "gradient": _gradient,
    "noise": _noise,
    "stripes": _stripes,
    "checks": _checks,
    "dots": _dots,
}


@cache
def _premultiplied(code: int) -> Uint8:
    """Returns a sprite with colour multiplied by alpha, as blending needs it."""
    rgba = sprite(code).astype(np.uint16)
    rgba[..., :3] = rgba[..., :3] * rgba[..., 3:] // 255
    return rgba.astype(np.uint8)


def _draw(frame: Uint8, actor: Actor, share: float) -> None:
    """Blends an actor, `share` of its way along, into a frame; parts outside are cut off."""
    x, y = _between(actor.start, actor.end, share)
    angle = radians(actor.turn * (2 * share - 1))
    reach = actor.side * (abs(cos(angle)) + abs(sin(angle))) / 2
    left, right = _clip(x - reach, frame.shape[1]), _clip(x + reach + 1, frame.shape[1])
    top, bottom = _clip(y - reach, frame.shape[0]), _clip(y + reach + 1, frame.shape[0])
    size = (right - left, bottom - top)
    picture = _warp(
        _premultiplied(actor.concept.code), actor.side, angle, (x - left, y - top), size
    )
    behind = frame[top:bottom, left:right]
    inverse = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(picture, 3)), cv2.COLOR_GRAY2RGB)
    through = cv2.multiply(behind, inverse, scale=1 / 255)
    cv2.add(through, cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB), dst=behind)


def _clip(edge: float, limit: int) -> int:
    return min(limit, max(0, int(edge)))


def _between(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _warp(picture: Uint8, side: int, angle: float, center: Point, size: tuple[int, int]) -> Uint8:
    """Scales a sprite to `side`, turns it by radians and centres it in a picture of `size`."""
    scale, half = side / SPRITE_SIDE, SPRITE_SIDE / 2
    a, b = scale * cos(angle), scale * sin(angle)
    matrix = np.array(
        [[a, b, center[0] - (a + b) * half], [-b, a, center[1] - (a - b) * half]], np.float32
    )
    warped: Uint8 = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR)
    return warped
